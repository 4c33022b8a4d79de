//! `docroot`: a folder, served over HTTP, on a mio `Poll` loop.
//!
//! > **net** moves bytes, **http1** reads them, **validate** decides, **find** fetches, **respond**
//! > decides, **http1** writes, **net** sends.
//!
//! Code that serves no word of that sentence stands in the wrong file.
//!
//! # The house
//!
//! Two wings have never heard of each other: [`net`] (bytes, sockets, time; no protocol) and
//! [`http`] (meaning; no sockets, files or clock). They meet in one file, `http1/session.rs`. Beside
//! it stands [`site`], what we have. The folders are the specifications: `http/` is RFC 9110,
//! `http1/` is RFC 9112. One currency passes through all: [`Blob`](blob::Blob), bytes at rest in
//! memory or in an open file.
//!
//! ```text
//!                     main.rs            arguments in, exit code out
//!                        |
//!                     config.rs          what was asked for
//!                        |
//!                     server.rs          one reactor per worker (or compress.rs: siblings for a folder)
//!                    /         \
//!               site/           http1/
//!          what we have     how HTTP/1.1 puts it
//!                    \       /       \
//!                     \     /         \
//!                    auth/            /
//!               who may see it       /
//!                       |           /
//!                      http/      net/
//!                 what HTTP says    moves bytes
//!                          \         /
//!                            blob.rs         (and counter.rs, numbers, and line_writer.rs,
//!                         bytes at rest       lines that are written elsewhere)
//! ```
//!
//! # One request's walk
//!
//! ```text
//!    kernel   readable(token)
//!      v
//!    net/reactor.rs      Reactor::turn      token -> connection; a stale key finds nothing
//!      v
//!    net/connection.rs   Connection::pump   flush, fill, ask - until nothing moves
//!      v
//!    http1/session.rs    Http1::on_ready    is there a whole head?
//!      |        .- http1/parse.rs   request(&[u8])       -> Request    pure
//!      |        |- http/validate.rs validate(&Request)  -> Target     pure (or a refusal: a Response)
//!      |        |- site/find.rs     find(&Target)        -> Lookup     THE ONE EFFECT: cache, or disk
//!      |        |- http/respond.rs  respond(&Request, &Target, &Lookup) -> Response   pure (precondition, range)
//!      |        '- http1/encode.rs  head(&Response, ..)  -> bytes      pure
//!      v
//!    net/outbox.rs       tail() <- head bytes;  push(blob, range)
//!      v
//!    net/connection.rs   the same pump, its next step: flush
//!      v
//!    net/transport.rs    send, sendmsg, sendfile
//!      v
//!    kernel
//! ```
//!
//! Content whose length nobody knows beforehand, a folder's listing or what happens in it, is made while it leaves:
//! `respond` decides that it is such, `Origin::open_stream` begins it, and the session, which frames it in chunks, asks
//! `Origin::read_stream` for one bounded step at a time, whenever everything before it has left (`Next::Yield`), or,
//! where nothing more has happened, when a bell rings (`Next::ReadOrWake`). Who leaves drops it.
//!
//! Downward only; each noun is made once and never edited by a later station.
//!
//! # The rooms
//!
//! | file | lives here | may never be here |
//! |---|---|---|
//! | `blob.rs` | bytes at rest, in memory, in a sealed or in an open file, and which version of it | reading a file; HTTP; sockets |
//! | `counter.rs` | a number that one thread changes, and that any may read | what it counts |
//! | `line_writer.rs` | lines handed to a thread that writes them, without ever waiting, and how many were lost | what a line says |
//! | `trust.rs` | whose word about other peers is believed | what they say |
//! | `path_resolution.rs` | a name -> the way to where it leads, by symbolic links | opening what is there |
//! | `net/address.rs` | where a peer is, and where a listener listens | sockets |
//! | `net/lan_address.rs` | by which address others know this machine | listening there |
//! | `net/transport.rs` | what a connection can do to its peer: TCP, Unix sockets, `sendfile` | buffering |
//! | `net/inbox.rs` | bytes received, not yet understood | parsing |
//! | `net/outbox.rs` | bytes decided, not yet sent | deciding what to send |
//! | `net/deadlines.rs` | when something is due, in order | reading the clock |
//! | `net/log_throttle.rs` | what is said again once a minute at the most | what is said |
//! | `net/limits.rs` | how much one reactor takes on, and its share of what all do | what the command line calls it |
//! | `net/counters.rs` | what becomes of one reactor's connections, in numbers | who asks |
//! | `net/per_ip_limit.rs` | how many connections each peer holds, with all reactors | what a connection says |
//! | `net/protocol.rs` | everything a server says to the reactor | mio types, sockets |
//! | `net/connection.rs` | the pump: flush, fill, ask; edges, pace, lingering | a token, another connection |
//! | `net/listener.rs` | bind or inherit, accept, withdraw | sessions |
//! | `net/unix_socket.rs` | a Unix socket in the file system: bound, replaced, removed | what is said over it |
//! | `net/socket_activation.rs` | sockets that somebody else has bound, as systemd hands them over | binding any |
//! | `net/reactor.rs` | the loop; the only reader of the clock; `ReactorHandle` | bytes |
//! | `http/syntax.rs` | tokens, comma lists, quoted strings, parameters, weights | a field's meaning |
//! | `http/fields.rs` | our own field lines, rendered when pushed | a peer's text, unescaped |
//! | `http/date.rs` | HTTP dates and RFC 3339's; one second's text, kept | asking what time it is |
//! | `http/status.rs` | the codes we send | policy |
//! | `http/request.rs` | method, target, version, lines | owning the bytes; framing |
//! | `http/target.rs` | host and decoded path, inside the root by construction | the file system |
//! | `http/validator.rs` | entity tags and dates: which state is which, strongly or weakly | making them from files |
//! | `http/coding.rs` | Accept-Encoding -> which content coding is preferred | compressing |
//! | `http/representation.rs` | content, and the fields that go with it | opening, reading |
//! | `http/precondition.rs` | If-Match to If-Modified-Since -> verdict | status codes |
//! | `http/range.rs` | Range, If-Range -> selection | slicing bytes |
//! | `http/multipart.rs` | several ranges as one content: boundaries, part heads, lengths | the bytes of a part |
//! | `http/listing.rs` | in which form and order a folder's listing is asked for | what is in the folder |
//! | `http/response.rs` | status, fields, representation, how much is sent; our own small pages | wire format |
//! | `http/origin.rs` | `trait Origin`, `enum Lookup` | implementations (but closures, for tests) |
//! | `http/accept.rs` | Accept -> which media type is preferred; whether somebody goes to a page | what is offered |
//! | `http/validate.rs` | may we answer, and for which target? | anything learned from disk |
//! | `http/respond.rs` | request + lookup = response | loops over bytes, logging |
//! | `http/credentials.rs` | who a request says it comes from, and how it is asked to say so | whether that is true |
//! | `http/forwarded.rs` | X-Forwarded-For, Forwarded -> for whom a proxy speaks | whether to ask |
//! | `http/cors.rs` | requests on behalf of another site | which sites may |
//! | `auth/hash.rs` | one hash of a password, and whether a password is its | whose it is |
//! | `auth/users.rs` | users and their hashes, as an htpasswd file lists them | opening that file |
//! | `auth/verdict_cache.rs` | which credentials were verified lately, by a seal | the credentials |
//! | `auth/verifier.rs` | passwords verified beside the loops, once for all who send the same | HTTP |
//! | `proxy/header.rs` | bytes -> a header of the PROXY protocol | what comes behind it |
//! | `proxy/counters.rs` | who was hung up on before its conversation began, in numbers | who asks |
//! | `proxy/proxied.rs` | another protocol, spoken behind such a header | which one |
//! | `http1/parse.rs` | bytes -> request head | reading sockets; method policy |
//! | `http1/body.rs` | where a request's content ends; counting it away | keeping it |
//! | `http1/chunked.rs` | content of unknown length -> chunks | making it |
//! | `http1/encode.rs` | response head -> bytes | deciding any of it |
//! | `http1/decimal.rs` | numbers in decimal digits | any other form |
//! | `http1/access_line.rs` | one request, as one line | writing it anywhere |
//! | `http1/counters.rs` | what one worker has answered, in numbers | who asks |
//! | `http1/access_log.rs` | answers on their way, each a line, and counted, once it has left | what a line looks like |
//! | `http1/authorize.rs` | who may have an answer, before anything is looked up | verifying |
//! | `http1/health.rs` | whether this server would like to be asked, told to whoever divides the requests | when that changes |
//! | `http1/session.rs` | states, persistence, pipelining, deadlines | RFC 9110's rules; file names |
//! | `site/root.rs` | the door to the file system, for all that is read | HTTP status, fields |
//! | `site/sidecar_writer.rs` | the second door: siblings in other codings, written whole or not at all | serving them |
//! | `site/encoding.rs` | bytes into a coding, out of it again | files; what is worth encoding |
//! | `site/compressor.rs` | what is encoded beside the loops, and what was, within a budget | making anybody wait |
//! | `site/digests.rs` | files known by their content, each read once, long ones beside the loops | making anybody wait |
//! | `site/validators.rs` | file -> validators, and why those | comparing them |
//! | `site/media.rs` | file name -> media type, and whether that becomes smaller | I/O |
//! | `site/cache_control.rs` | file name -> Cache-Control, by what looks like a hash | reading files |
//! | `site/watch.rs` | which files have changed, says inotify, and what it cannot say | comparing versions |
//! | `site/root_watch.rs` | whether something happened on the way to the root, or to where else links may lead, so that a name may lead elsewhere | looking where |
//! | `site/releases.rs` | which folders the root's name has led to, of which something may still be shown | what of them |
//! | `site/cache.rs` | what was found before, within a budget, and what it rests on | disk access |
//! | `site/pattern.rs` | which paths a rule is about, and what it captures of them | what the rule does |
//! | `site/rules.rs` | the lines of a file of rules; rules in order, found by path | what a line means |
//! | `site/field.rs` | a field that was configured, and those that cannot be | which answers have it |
//! | `site/headers.rs` | `_headers`: path -> changes to the fields | reading the file; our defaults |
//! | `site/redirects.rs` | `_redirects`: path -> where to, and with which status | reading the file; looking a path up |
//! | `site/listing.rs` | a folder, read, put in order and shown in bounded steps | how it is framed |
//! | `site/listing/natural.rs` | names in the order in which people count | what they name |
//! | `site/listing/row.rs` | an entry as HTML, JSON or text | looking at it |
//! | `site/live.rs` | what tells pages that the site has changed: counted, kept a while, told on streams | what a browser does |
//! | `site/live/tree_watcher.rs` | what inotify says of all that is below a folder | what is served |
//! | `site/live/debouncer.rs` | many changes that come together, as one | asking what time it is |
//! | `site/live/inject.rs` | a page, with a script in it | reading the page |
//! | `site/policy_sources.rs` | the files that a site's policy is written in, read as often as asked | what a line means |
//! | `site/policy.rs` | address and file -> the fields that go with the answer | choosing the file |
//! | `site/trace.rs` | what was seen on the way to an answer, for who asks why | deciding anything |
//! | `site/survey.rs` | what a visitor of all there is would meet | another rule than who serves has |
//! | `site/search.rs` | path -> file: as it is, with `.html`, a folder's index, and what stands beside it | request fields |
//! | `site/sidecars.rs` | what may stand beside a file, and whether it is that, with a coding | choosing among them |
//! | `site/resource.rs` | content and its fields -> a resource, with all that is said of it | choosing either |
//! | `site/lookup_cache.rs` | what was found before, if it still is so: the cache, its evidence, and the watches over that | what is looked for |
//! | `site/find.rs` | target -> lookup: memory, rules, search, the pages for what is absent | request fields |
//! | `server.rs` | options -> listeners, sites, one reactor per worker; what happens when one fails | per-request code |
//! | `metrics.rs` | how a server is doing, as Prometheus reads it: an origin | counting |
//! | `metrics/process.rs` | what the kernel says of this process | what we say of it |
//! | `sandbox.rs` | what the process may still do once it serves, and that the kernel sees to it | what the command line calls it |
//! | `compress.rs` | `docroot compress`: the walk, the threads, what is said of it | opening files; a request |
//! | `main.rs` | arguments, tracing, signals, exit code | everything else |
//! | `config.rs` | arguments and environment -> options, checked once | being imported by anyone but main |
//! | `config/values.rs` | a word of the command line -> the value that it means | which option says it |
//! | `config/binds.rs` | where it listens, as it is asked for | listening |
//! | `config/etag.rs` | what entity tags are made from, as it is asked for | making them |
//! | `config/memory.rs` | what a container may have -> what may be remembered | who uses it |
//! | `config/live.rs` | options for work on a site | doing it |
//! | `config/health.rs` | the arguments about health and draining | acting on them |
//! | `config/sandbox.rs` | whether the process is confined, and what it then needs | confining it |
//! | `config/proxies.rs` | who speaks for others, as it is asked for | what they say |
//! | `config/log.rs` | the options of the access log | writing it |
//! | `config/metrics.rs` | the option of the metrics | telling them |
//! | `config/manual.rs` | the manual page, and completions for shells | printing them |
//! | `config/healthcheck.rs` | whom `docroot healthcheck` asks, and for what | asking |
//! | `announce.rs` | what the start says, for a person or for a program | deciding what is on |
//! | `text.rs` | text of others, harmless for a terminal or in JSON | what it says |
//! | `log_sink.rs` | where access lines go: standard output, or a file that is opened again | what they say |
//! | `browser.rs` | a browser that is ready before there is anything to be opened | which one, and what |
//! | `qr.rs` | an address as a QR code, and which one a phone can reach | where it is shown |
//! | `check.rs` | `docroot --check`: what would be served, and what is wrong with it | looking at files |
//! | `explain.rs` | `docroot explain`: a request through a session without a socket, and the notes of its site | deciding anything |
//! | `hash.rs` | `docroot hash`: a password in, a line out | how it is hashed |
//! | `service_manager.rs` | what a service manager is told, and where | knowing when |
//! | `healthcheck.rs` | `docroot healthcheck`: one request to a server, and whether it is well | finding out where that is |
//!
//! **Floors:** `main > config > {server, compress, sandbox} > metrics > {http1, site, proxy} > auth > {http, net} > {blob,
//! counter, line_writer, trust, path_resolution}`. (Main confines, by `sandbox.rs`, between two calls of the server.)
//!
//! **Doors:** the clock is read only in `net/reactor.rs` (and in `compress.rs`, `explain.rs`, `check.rs` and
//! `site/live.rs`, which are no loops, in `line_writer.rs`, where lines are lost, and, when it was started, in
//! `metrics/process.rs`); files are opened only in `site/root.rs` (one with passwords in `config.rs`; what the kernel says
//! of this process and its limits in `metrics/process.rs`, `config/memory.rs` and `net/limits.rs`), and written only in
//! `site/sidecar_writer.rs`, which whoever serves never enters, and in `log_sink.rs`, the access log; a Unix socket's file is
//! bound, with its folder locked, and removed in `net/unix_socket.rs`; mio's sockets are named only in `net/`, the command line and
//! the environment only in `config.rs`, the rooms below it, and `main.rs`.
//!
//! **One package, one home:** mio, socket2, nix, listenfd and slotmap in `net/`; arrayvec in `net/outbox.rs` and
//! `http1/parse.rs`; httparse in `http1/parse.rs`; httpdate in `http/date.rs`; base64 in `http/credentials.rs`; what hashes
//! passwords in `auth/hash.rs`, what seals them in `auth/verdict_cache.rs`; brotli, flate2 and zstd in `site/encoding.rs`;
//! mime_guess in `site/media.rs`; foldhash in `site/cache.rs`; twox-hash in `net/outbox.rs`, `site/validators.rs` and
//! `site/digests.rs`; ipnet in `trust.rs`; landlock in `sandbox.rs`; indicatif in `compress.rs`; clap in `config.rs` and below it; fast_qr in
//! `qr.rs`; tracing-subscriber and signal-hook in `main.rs`, sd-notify in `main.rs` and `service_manager.rs`; rustix in `net/`,
//! `site/`, `auth/verifier.rs`, `sandbox.rs`, `metrics/process.rs`, `explain.rs` and `hash.rs`. `tests/keeps_its_house.rs`
//! holds us to it.
//!
//! # Five habits the loop lives by
//!
//! 1. **Sockets are registered once, for both directions, and never re-registered.** mio is
//!    edge-triggered: a readiness not used is lost. One function, `Connection::pump`, runs
//!    flush-fill-ask until nothing moves or its steps are up (then it is hungry: again at the next
//!    turn), so one fast peer cannot starve its neighbours, and no writer has to remember to re-arm.
//! 2. **A short read is the end of the edge** (epoll(7)), and so is a short write; but not of a file, as a signal ends a
//!    sendfile(2) early. One request on a warm connection costs one `recv` and one `send`.
//! 3. **Buffers are lent** for the length of a pump, with the desk they lie on. What stays with a
//!    connection is only a partial head or what is unsent, of a file an offset; an idle one owns
//!    nothing, and the kernel is given little for a peer that does not take it.
//! 4. **Time is a parameter.** The clock is read once per turn, and once more at the end of one whose answers are logged:
//!    what has held up the loop, as a disk may, is part of how long they took.
//! 5. **What was found is doubted once a turn.** Within a turn it is believed; in a later one it is confirmed
//!    first: by inotify, which is heard before anybody is served, or by one `stat`. Who may have asked after
//!    the turn began, and after a change, is answered after another doubt: a connection that was just accepted,
//!    and what came behind another request.
//!
//! What a loop may not wait for is done beside it: a session says `Next::AwaitWake`, its head stays in the inbox,
//! unparsed, a bell is rung, and the same session is asked again. So passwords are verified.
//!
//! Workers share nothing on the path of a request. Where they meet, it is under a lock that is held for
//! a few instructions: lines, once a turn (`line_writer.rs`), and, if asked for, peers that come and leave
//! (`net/per_ip_limit.rs`), credentials that a session does not know yet (`auth/verifier.rs`), and forms and digests of files
//! that a worker has just found (`site/compressor.rs`, `site/digests.rs`).
//!
//! # When things go wrong
//!
//! | what | is a | becomes |
//! |---|---|---|
//! | the bytes are no request | `http1::ParseError`, `BodyError` | 400, 413, 414, 431, 501, 505; then close |
//! | a request we do not serve | `Err(Response)` from `validate` | 400, 405 and 501 + Allow, 417, 421 |
//! | credentials missing, not good, too many to verify | `Authorization::Denied` | 401 + WWW-Authenticate, 503 + Retry-After |
//! | If-..., Range | `PreconditionOutcome`, `Selection` | 304, 412, 206, 416 |
//! | nothing there, not ours to show, not to be had now | `Lookup::{NotFound, Forbidden, Unavailable}` | 404, 403, 503 + Retry-After |
//! | a folder cannot be read to its end | `StreamProgress::Failed` | the connection is closed without the last chunk |
//! | a file is written to while it is sent | `CloseReason::FileChanged` | the connection is cut: other bytes were promised |
//! | peer gone, reset, too slow | `CloseReason` | a debug line; never leaves the reactor |
//! | accept: no descriptors | the listener rests, one warning | it resumes when a connection closes |
//! | a worker fails or panics | `io::Error` out of `Server::run` | the others drain; one line, exit code 1 |
//! | bind, poll, root missing | error with context | one line on stderr that says what to do; exit code |
//!
//! No panic can be reached from a peer's bytes: `unwrap`, `panic` and indexing are denied in `http/`
//! and `http1/`; an `expect` elsewhere states its invariant.
#![forbid(unsafe_code)]

pub mod auth;
pub mod blob;
pub mod compress;
pub mod counter;
pub mod http;
pub mod http1;
pub mod line_writer;
pub mod metrics;
pub mod net;
mod path_resolution;
pub mod proxy;
pub mod sandbox;
pub mod server;
pub mod site;
pub mod trust;
