//! `docroot`: a static file server for HTTP/1.1, on event loops (mio, epoll(7)).
//!
//! > **net** moves bytes, **http1** reads and writes messages, **service** answers requests, **site** finds resources in
//! > **files**, by the rules of **http**.
//!
//! Code that serves no word of that sentence is the command line (`cli/`), the start of the server (`server/`), or in
//! the wrong folder.
//!
//! # One request
//!
//! ```text
//! kernel: readable
//!   net/reactor        token -> connection; a stale token finds none
//!   net/connection     pump: flush, read, call the session, until no step makes progress
//!   net/transport      recv
//!   http1/session      is the head complete?
//!   http1/parse        bytes -> Request                              pure; each known field is found once
//!   service            validate -> authorize -> Origin::find -> respond -> access log
//!   site               Target -> Lookup: cache, or files             THE ONE EFFECT
//!   http1/encode       Response -> bytes                             pure
//!   net/outbox         queued bytes, and ranges of files
//!   net/transport      send, sendmsg, sendfile
//! kernel: sent
//! ```
//!
//! Data flows downward only: `bytes -> Request -> Target -> Lookup -> Response -> bytes`. Each value is made once, and
//! no later step changes it. `docs/internals/` tells the rest: architecture, the life of a request, the event loop,
//! freshness, file consistency, validators, errors, tests and benchmarks.
//!
//! # Folders, from the top floor down
//!
//! A folder imports from lower floors only, and no files import each other in a circle. `tests/keeps_its_house.rs`
//! checks both, and holds the one table of where each package, system call and clock is used.
//!
//! | folder | what is in it | what is never in it |
//! |---|---|---|
//! | `main.rs` | the call of `cli` | anything else |
//! | `cli/` | command line and environment; the commands; banner, signals, diagnostics, exit codes | what a user of the library would call |
//! | `server/` | from options to running workers: listeners, workers, metrics, sandbox, start and stop | code that runs for each request |
//! | `proxy/` | the PROXY protocol, around another protocol | HTTP |
//! | `http1/` | RFC 9112: head parser, body framing, response writer, chunks, the states of a session | files, authorization, access log |
//! | `service/` | one request in, one response out, for every version of HTTP: validate, health, authorize, find, respond, access log, counters | bytes on the wire |
//! | `site/` | an `Origin`: from a target to a resource, by names and rules, cached | sockets; request fields |
//! | `auth/` | users, password hashes, their verification on background threads | HTTP |
//! | `files/` | the file system: the root, files opened beneath it, symbolic links, inotify, versions | HTTP, rules |
//! | `http/` | what RFC 9110 and 9111 say: values in, values out | sockets, files, the clock |
//! | `net/` | sockets and time: listeners, event loop, connections, buffers | what the bytes mean |
//! | `blob/` | bytes at rest: in memory, or in a file of one version | who reads them |
//! | `log/` | lines written by a background thread, and counts of lost lines | what they say |
//! | `trust.rs` | trusted proxies | what they send |
//! | `escape.rs` | untrusted text, escaped for HTML, JSON, a log or a terminal | who sends it |
//! | `path.rs` | a path split before its last segment | what the path names |
//! | `peer.rs` | addresses of peers | sockets |
//! | `sync/` | what threads share: counters, wakers, worker pools, eviction, log throttles | who shares it |
#![forbid(unsafe_code)]

pub mod auth;
pub mod blob;
pub mod escape;
pub mod files;
pub mod http;
pub mod http1;
pub mod log;
pub mod net;
mod path;
mod peer;
pub mod proxy;
pub mod server;
pub mod service;
pub mod site;
pub mod sync;
pub mod trust;
