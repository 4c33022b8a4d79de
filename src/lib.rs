//! `docroot`: a static file server for HTTP/1.1, on event loops (mio, epoll(7)).
//!
//! > **net** moves bytes, **http1** reads and writes messages, **site** finds resources in files, by the rules of
//! > **http**.
//!
//! Code that serves no word of that sentence is the command line (`cli/`), the start of the server (`server/`), or in
//! the wrong place.
//!
//! # Layers
//!
//! ```text
//!    cli/                             command line in, exit code out
//!        |
//!    server/                          one event loop per worker
//!        |
//!    site/     http1/     proxy/      resources in files | HTTP/1.1 messages | PROXY headers
//!      |       /  |  \       |
//!      |   auth/  |   \      |        users and passwords
//!      |     |    |    \     |
//!     http/-------'     net/          RFC 9110, pure | sockets, buffers, timers
//!           \           /
//!      blob/, counter.rs, line_writer.rs, peer.rs, trust.rs
//! ```
//!
//! | folder | what is in it | what is never in it |
//! |---|---|---|
//! | `net/` | sockets and time: listeners, event loop, connections, buffers | the meaning of the bytes |
//! | `http/` | RFC 9110 as pure functions: values in, values out | sockets, files, the clock |
//! | `http1/` | RFC 9112: parsing, framing, the session of a connection; access log and authorization | files |
//! | `proxy/` | the PROXY protocol, around another protocol | HTTP |
//! | `auth/` | users, password hashes, verification on background threads | HTTP |
//! | `site/` | from a request target to a resource: files, rules, caches, compression | sockets; request fields |
//! | `log/` | lines written by a background thread | their content |
//! | `sync/` | what threads share: counters, wakers, worker pools, second-chance eviction, throttled messages | who uses it |
//! | `cli/` | the command line and its words: options, commands, banner, signals, exit codes | what a library user calls |
//!
//! No import runs upward: `main > cli > server > {http1, site, proxy} > auth > {http, net} >
//! {blob, counter, line_writer, path, peer, trust}`. (`cli/serve.rs` enters the sandbox after the server has
//! bound its sockets and before it runs.) `net/` and `http/` do not know each other; `http1/session.rs` joins them.
//! Content passes through all layers as a [`Blob`](blob::Blob): bytes in memory, or an open file. HTTP/2 would be a
//! folder beside `http1/`, and TLS a wrapper like `proxy/` (docs/internals/architecture.md).
//!
//! # Life of a request
//!
//! ```text
//!    kernel   readable(token)
//!      v
//!    net/reactor.rs      Reactor::turn      listener, waker or connection
//!      v
//!    net/connections.rs  on_event           token -> connection; a stale token finds none
//!      v
//!    net/connection.rs   Connection::pump   flush, read, call the session - until no step makes progress
//!      v
//!    http1/session.rs    Http1::on_ready    is the head complete?
//!      |        .- http1/parse.rs   request(&[u8])       -> Request    pure
//!      |        |- http/validate.rs validate(&Request)  -> Target     pure (or Err(Response))
//!      |        |- http1/health.rs, http1/authorize.rs                answered here, refused, or passed on
//!      |        |- site/site.rs     find(&Target)        -> Finding    THE ONE EFFECT: cache, or file system
//!      |        |- http/respond.rs  respond(&Request, &Target, &Lookup) -> Response   pure (preconditions, ranges)
//!      |        '- http1/encode.rs  head(&Response, ..)  -> bytes      pure
//!      v
//!    net/outbox.rs       tail() <- bytes of the head;  push(blob, range)
//!      v
//!    net/connection.rs   the same pump, next step: flush
//!      v
//!    net/transport.rs    send, sendmsg, sendfile
//!      v
//!    kernel
//! ```
//!
//! Data flows downward only: each value is made once, and no later step changes it.
//!
//! Content of unknown length, a directory listing or a stream of events, is generated while it is sent: `respond`
//! selects it, `Origin::open_stream` opens it, and the session frames it in chunks. It calls `Origin::read_stream` for
//! one bounded step whenever all earlier bytes are sent (`Next::Yield`) or, if no event is pending, when a waker is
//! readable (`Next::ReadOrWake`). When the client disconnects, the stream is dropped.
//!
//! Work that would block an event loop, such as verifying a password, runs on a background thread: the session returns
//! `Next::AwaitWake` and leaves the head unparsed in the inbox; the thread writes to a waker (eventfd(2)), and the
//! session is called again.
//!
//! # Five habits of the event loop
//!
//! 1. **Sockets are registered once, for both directions, and never re-registered.** mio is edge-triggered: a readiness
//!    that is not used up is not reported again. One function, `Connection::pump`, flushes, reads and calls the session
//!    until no step makes progress or its steps are used up (then the connection is runnable in the next turn). So a
//!    fast client cannot starve the others, and no code has to re-arm a socket.
//! 2. **A short read ends the edge** (epoll(7)), and so does a short write; but not a short sendfile(2), which a signal
//!    may have interrupted. One request on a warm connection costs one `recv` and one `send`.
//! 3. **Buffers are shared** and lent to a connection for one pump. Between pumps a connection owns only a partial head
//!    or unsent bytes, of a file an offset; an idle one owns no buffer. The kernel buffers little for a client that
//!    does not read (TCP_NOTSENT_LOWAT).
//! 4. **Time is a parameter.** The clock is read once per turn, and once more at the end of a turn whose responses are
//!    logged: time for which the turn was blocked, as by a disk, is part of their duration.
//! 5. **Cached lookups are revalidated once per turn.** Within a turn a cached lookup is fresh; in a later turn it is
//!    revalidated first: by inotify, which is read before any request is served, or by one stat(2). Requests that may
//!    have been sent after the turn began, and after a file changed, are served after another revalidation: those of a
//!    connection that was just accepted, and those behind another request (pipelining).
//!
//! Workers share nothing on the path of a request. Where they meet, it is under a lock that is held for a few
//! instructions: log lines, once a turn (`log/line_writer.rs`); connections per address, if limited
//! (`net/per_ip_limit.rs`); credentials that a session has not seen verified (`auth/verifier.rs`); encoded files and
//! digests that a worker has just found (`site/encoding/compressor.rs`, `site/represent/digests.rs`).
//!
//! # Errors
//!
//! | cause | type | result |
//! |---|---|---|
//! | bytes that are no valid request | `http1::ParseError`, `BodyError` | 400, 413, 414, 431, 501, 505; then close |
//! | a request that docroot does not serve | `Err(Response)` from `validate` | 400, 405 and 501 + Allow, 417, 421 |
//! | credentials missing or wrong; too many to verify | `Authorization::Denied` | 401 + WWW-Authenticate; 503 |
//! | a precondition or a range | `PreconditionOutcome`, `Selection` | 304, 412, 206, 416 |
//! | no resource, hidden, or unreadable at present | `Lookup::{NotFound, Forbidden, Unavailable}` | 404, 403, 503 |
//! | a directory cannot be read to its end | `StreamProgress::Failed` | closed before the last chunk |
//! | a file is written to while it is sent | `CloseReason::FileChanged` | the connection is closed before the end |
//! | client gone, reset or too slow | `CloseReason` | a debug line; never leaves the reactor |
//! | accept(2) finds no free descriptor | a waiting connection is evicted; if none waits, the listener pauses | it resumes when a connection closes |
//! | a worker fails or panics | `io::Error` out of `Server::run` | the other workers drain; one line, exit code 1 |
//! | bind, poll, missing root | an error with context | one line on stderr that says what to do; exit code |
//!
//! Each 503 has Retry-After. Bytes from a client cannot cause a panic: `unwrap`, `panic` and indexing are denied in
//! `http/`, `http1/` and `proxy/`; an `expect` elsewhere states why it holds.
//!
//! # Resources and packages
//!
//! Each is used in one place, and `tests/keeps_its_house.rs` checks it.
//!
//! | resource | place |
//! |---|---|
//! | clock, on an event loop | `net/reactor.rs` |
//! | clock, elsewhere | `compress.rs`, `explain.rs`, `check.rs`, `site/live/reload.rs` |
//! | clock, when log lines are lost | `line_writer.rs` |
//! | clock, at the start of the process | `server/metrics/process.rs` |
//! | served files, opened | `files/root.rs` |
//! | password file | `config.rs` |
//! | procfs, cgroups and sysctls | `server/metrics/process.rs`, `config/memory.rs`, `net/limits.rs` |
//! | sidecars, written | `site/encoding/sidecar_writer.rs`, which a serving process never calls |
//! | access log | `log_sink.rs` |
//! | file of a Unix socket | `net/listen/unix_socket.rs`: bound with its directory locked, and removed |
//! | mio's sockets | `net/` |
//! | command line and environment | `config.rs`, `config/`, `main.rs` |
//!
//! | package | place |
//! |---|---|
//! | mio, socket2, nix, listenfd, slotmap | `net/` |
//! | arrayvec | `net/outbox.rs`, `http1/field_lines.rs` |
//! | httparse | `http1/parse.rs` |
//! | httpdate | `http/date.rs` |
//! | base64 | `http/credentials.rs` |
//! | bcrypt, sha-crypt | `auth/hash.rs` |
//! | siphasher, subtle, getrandom | `auth/verdict_cache.rs` |
//! | brotli, flate2, zstd | `site/encoding/encoder.rs` |
//! | mime_guess | `site/names/media.rs` |
//! | foldhash | `site/freshness/cache.rs` |
//! | twox-hash | `net/file_part.rs`, `site/represent/validators.rs`, `site/represent/digests.rs` |
//! | ipnet | `trust.rs` |
//! | landlock | `server/sandbox.rs` |
//! | indicatif | `compress.rs` |
//! | clap | `config.rs`, `config/` |
//! | fast_qr | `qr.rs` |
//! | tracing-subscriber | `main.rs`, `local_time.rs` |
//! | signal-hook | `main.rs` |
//! | jiff | `local_time.rs` |
//! | strsim | `config/mistakes.rs` |
//! | sd-notify | `main.rs`, `service_manager.rs` |
//! | rustix | `net/`, `site/`, `auth/verifier.rs`, `server/sandbox.rs`, `server/metrics/process.rs`, `explain.rs`, `hash.rs` |
//!
//! # Files
//!
//! | file | what is in it | what is never in it |
//! |---|---|---|
//! | `blob/content.rs` | content in memory or in a (sealed) open file | reading files; HTTP; sockets |
//! | `blob/version.rs` | version of a file's bytes, and whether the file still has them | opening files |
//! | `counter.rs` | a counter that one thread changes and any thread may read | what it counts |
//! | `line_writer.rs` | lines written by a background thread, and counts of lost lines | their content |
//! | `peer.rs` | peer of a connection, and its address | sockets |
//! | `trust.rs` | trusted proxies | what they send |
//! | `files/path_resolution.rs` | a path resolved through symbolic links | opening files |
//! | `net/close_reason.rs` | why a connection was closed | closing it |
//! | `net/transport.rs` | non-blocking TCP and Unix sockets, `sendfile` | buffering |
//! | `net/inbox.rs` | received bytes that are not consumed | parsing |
//! | `net/file_part.rs` | part of a file on its way, checked while it is sent | bytes in memory |
//! | `net/buffers.rs` | inbox and outbox lent to a connection for one pump | the socket |
//! | `net/edge_socket.rs` | a transport with the readiness that the poll has reported | buffers; sessions |
//! | `net/outbox.rs` | queued bytes and file ranges that are not sent | deciding what to send |
//! | `net/deadlines.rs` | priority queue of deadlines | reading the clock |
//! | `net/limits.rs` | limits of one reactor, and its share of the limits of all | names of options |
//! | `net/counters.rs` | counters of one reactor's connections | rendering them |
//! | `net/per_ip_limit.rs` | open connections per address, over all reactors | the bytes of a connection |
//! | `net/protocol.rs` | the interface between a protocol and the reactor | mio types, sockets |
//! | `net/connection.rs` | the pump: flush, read, call; minimum rate, lingering close | tokens, other connections |
//! | `net/listen/endpoint.rs` | address of a listener | sockets |
//! | `net/listen/interfaces.rs` | this machine's network interfaces: addresses and indices | listening there |
//! | `net/listen/listener.rs` | bind or inherit, accept, stop accepting | sessions |
//! | `net/listen/unix_socket.rs` | the file of a Unix socket: bound, replaced, removed | the bytes of a connection |
//! | `net/listen/socket_activation.rs` | sockets passed by the service manager (systemd) | binding |
//! | `net/eviction.rs` | candidates for eviction: the connections that have been idle longest | closing them |
//! | `net/connections.rs` | the connections of one reactor, with their protocol | listeners; the poll |
//! | `net/acceptor.rs` | accepts in bursts, evicts for room, pauses, drains the backlog | pumping |
//! | `net/reactor.rs` | the event loop and its only clock | the bytes of a connection |
//! | `net/reactor_handle.rs` | stops a reactor from another thread | joining it |
//! | `http/syntax.rs` | tokens, comma lists, quoted strings, parameters, weights | the meaning of a field |
//! | `http/escape.rs` | untrusted text escaped for HTML, JSON, a log line, a terminal | its meaning |
//! | `http/fields.rs` | generated field lines, rendered when added | unescaped text from a client |
//! | `http/date.rs` | HTTP dates and RFC 3339 dates; the text of the last second, cached | reading the clock |
//! | `http/status.rs` | status codes that docroot sends | when to send them |
//! | `http/request.rs` | method, target, version | owning the bytes; framing |
//! | `http/request_fields.rs` | field lines, and where those are that docroot reads | their meaning |
//! | `http/target.rs` | host and decoded path, which cannot leave the root | the file system |
//! | `http/validator.rs` | entity tags and dates, strong and weak comparison | making them from files |
//! | `http/coding.rs` | Accept-Encoding -> preferred content coding | compressing |
//! | `http/representation.rs` | content with its fields | opening, reading |
//! | `http/precondition.rs` | If-Match to If-Modified-Since -> outcome | status codes |
//! | `http/range.rs` | Range, If-Range -> selection | slicing bytes |
//! | `http/multipart.rs` | multipart/byteranges: boundaries, part heads, lengths | the bytes of a part |
//! | `http/listing.rs` | format and order in which a listing is requested | the entries of the directory |
//! | `http/response.rs` | status, fields, representation, how much of it is sent; generated pages | the wire format |
//! | `http/origin.rs` | `trait Origin`, `enum Lookup` | implementations (other than closures, for tests) |
//! | `http/accept.rs` | Accept -> preferred media type; navigation requests of a browser | the available types |
//! | `http/validate.rs` | request -> target, or the response that rejects it | facts from the file system |
//! | `http/respond.rs` | request + lookup -> response | loops over bytes, logging |
//! | `http/credentials.rs` | credentials of a request, and the challenge for them | verifying them |
//! | `http/forwarded.rs` | X-Forwarded-For, Forwarded -> address of the client | which proxies are trusted |
//! | `http/cors.rs` | cross-origin requests | which origins are allowed |
//! | `auth/hash.rs` | one password hash, and verifying a password against it | its user |
//! | `auth/users.rs` | users and their hashes, from the text of an htpasswd file | opening that file |
//! | `auth/verdict_cache.rs` | verdicts on recent credentials, by a keyed hash | the credentials |
//! | `auth/verifier.rs` | passwords verified on background threads, once for all requests with the same ones | HTTP |
//! | `proxy/header.rs` | bytes -> a header of the PROXY protocol | the bytes after it |
//! | `proxy/counters.rs` | counters of connections closed because of their header | rendering them |
//! | `proxy/proxied.rs` | a wrapper around the protocol that follows such a header | that protocol |
//! | `http1/field_lines.rs` | bytes -> field lines | meaning of a field |
//! | `http1/parse.rs` | bytes -> request head | reading sockets; which methods are served |
//! | `http1/body.rs` | framing of a request's content, which is read and discarded | keeping it |
//! | `http1/chunked.rs` | content of unknown length -> chunks | generating it |
//! | `http1/encode.rs` | response head -> bytes | deciding any of it |
//! | `http/decimal.rs` | numbers in decimal digits | other formats |
//! | `http1/options.rs` | timeouts and limits of a connection | policies of the service |
//! | `http1/states.rs` | states of a connection | steps between them |
//! | `http1/writer.rs` | a response into an outbox | deciding any of it |
//! | `service/answer.rs` | request -> response, authorization included, with its log line and counters | bytes on the wire |
//! | `service/access_line.rs` | one request as one line | writing the line |
//! | `service/counters.rs` | counters of one worker's responses | rendering them |
//! | `service/access_log.rs` | responses in flight, logged and counted when they are sent | the format of a line |
//! | `service/authorize.rs` | authorization of a request, before the lookup | verifying passwords |
//! | `service/health.rs` | the health check for load balancers | when health changes |
//! | `service/refusal.rs` | one debug line for each refused request: its reason | deciding it |
//! | `http1/session.rs` | states, keep-alive, pipelining, timeouts of a connection | rules of RFC 9110; file names |
//! | `files/error.rs` | errors of the file system, and their meaning | HTTP status |
//! | `files/symlinks.rs` | symbolic links on a path, and the path without them | opening files |
//! | `files/dir.rs` | one directory held open, and paths opened beneath it | following symbolic links |
//! | `files/root.rs` | the root and the other directories where links may lead, and paths opened beneath them | the content of files |
//! | `files/entry.rs` | kinds, metadata and versions of entries; reading directories | the content of files |
//! | `files/read.rs` | content of files, read or left open, always of one version | HTTP status, fields |
//! | `files/inotify.rs` | watches, the reader of their events, and where it misses changes | what is watched |
//! | `files/root_watch.rs` | changes of the root path's symbolic links and of allowed targets | resolving them |
//! | `site/encoding/sidecar_writer.rs` | writing sidecars, completely or not at all | serving them |
//! | `site/encoding/encoder.rs` | bytes into a content coding and back | files; which are worth encoding |
//! | `site/encoding/compressor.rs` | compression on background threads, and its results within a budget | blocking a request |
//! | `site/represent/digests.rs` | digests of files, each file read once, long ones on a background thread | blocking a request |
//! | `site/represent/validators.rs` | file -> validators, and the reasons for them | comparing them |
//! | `site/names/media.rs` | file name -> media type, and whether it is compressible | I/O |
//! | `site/cache_control.rs` | file name -> Cache-Control, by fingerprints in the name | reading files |
//! | `site/names/hidden.rs` | names that begin with a dot | other rules |
//! | `site/resolve/absence.rs` | the reasons why a target has no resource, and their sentences | looking it up |
//! | `site/resolve/resolver.rs` | place -> file, directory, listing, redirect, rewrite, or nothing | fields; fallback pages |
//! | `site/freshness/watch.rs` | changes of files from inotify, and the changes that it cannot report | comparing versions |
//! | `site/freshness/releases.rs` | directories to which the root path has led, which may still be served | which files |
//! | `site/freshness/cache.rs` | cached lookups within a budget, and their evidence | the file system |
//! | `site/rules/pattern.rs` | path patterns of rules, and their captures | the effect of a rule |
//! | `site/rules/path_rules.rs` | lines of a rules file; ordered rules, found by path | the meaning of a line |
//! | `site/rules/field.rs` | configured response fields, and the reserved ones | which responses have them |
//! | `site/rules/headers.rs` | `_headers`: path -> changes to the fields | reading the file; default fields |
//! | `site/rules/redirects.rs` | `_redirects`: path -> location and status | reading the file; looking a path up |
//! | `site/listing/stream.rs` | a directory read, sorted and rendered in bounded steps | framing |
//! | `site/listing/natural.rs` | natural order of names | what they name |
//! | `site/listing/row.rs` | an entry as HTML, JSON or text | examining the file |
//! | `site/live/origin.rs` | the origin around an origin that adds live reload to its pages | watching files |
//! | `site/live/reload.rs` | numbered changes, kept for a while, sent as events | the script in the browser |
//! | `site/live/tree_watcher.rs` | inotify on a whole directory tree | which files are served |
//! | `site/live/debouncer.rs` | a burst of changes merged into one | reading the clock |
//! | `site/live/inject.rs` | the live-reload script added to a page | reading the page |
//! | `site/rules/policy_sources.rs` | the files of a site's policy, read at each load | the meaning of a line |
//! | `site/rules/shared_policy.rs` | the policy in force, for all workers, and its sources | rules |
//! | `site/rules/policy.rs` | URL and file -> the fields of the response | choosing the file |
//! | `site/report/trace.rs` | events of a lookup, for `docroot explain` | decisions |
//! | `site/report/logged_once.rs` | messages that are each logged once | their text |
//! | `site/report/root_fault.rs` | why a request for / would get 404 | its text |
//! | `site/report/survey.rs` | all files of the root, tried as requests would be | rules other than those of serving |
//! | `site/resolve/search.rs` | path -> file: itself, with `.html`, or an index file, and its sidecars | request fields |
//! | `site/encoding/sidecars.rs` | sidecars of a file, checked against its version, with their codings | choosing one |
//! | `site/represent/assembler.rs` | a found file -> a resource: fields, validators, sidecars, codings | finding it |
//! | `site/represent/fallback.rs` | the SPA fallback page and the not-found page | when a target has no resource |
//! | `site/represent/resource.rs` | content and fields -> a resource with all its representations' fields | choosing either |
//! | `site/freshness/lookup_cache.rs` | the cache of lookups with their revalidation: evidence and watches | searching |
//! | `site/site.rs` | target -> lookup: cache, rules, search, error pages | request fields |
//! | `server/options.rs` | the options of a server | handles, threads, locks |
//! | `server/start_error.rs` | what prevents a start, and what to do about it | exit codes |
//! | `server/listeners.rs` | addresses and ports -> bound listeners | accepting |
//! | `server/workers.rs` | sites and one reactor per worker; failure of a worker | per-request code |
//! | `server/metrics/listener.rs` | a thread for the metrics page, as long as workers run | the page |
//! | `server/metrics/page.rs` | the metrics page, as an origin | counting |
//! | `server/metrics/text.rs` | Prometheus' text format | which metrics there are |
//! | `server/metrics/process.rs` | statistics of the process from procfs | docroot's own counters |
//! | `server/sandbox.rs` | the rights that the serving process keeps (Landlock) | names of options |
//! | `main.rs` | calls `cli` | anything else |
//! | `path.rs` | paths as bytes: their directory, and their last segment | the file system |
//! | `cli/serve.rs` | the order of starting, and what each signal does | the server |
//! | `cli/site.rs` | the site of a command, with its path rules in force | looking up |
//! | `cli/signals.rs` | signals, received by a thread | the reaction to them |
//! | `cli/exit_codes.rs` | exit codes, and the errors that they stand for | printing |
//! | `cli/diagnostics.rs` | level and destination of diagnostics | their texts |
//! | `cli/local_time.rs` | local time for a terminal | other clocks |
//! | `cli/output.rs` | text on standard output, and parts of it that several commands have | its meaning |
//! | `cli/options/arguments.rs` | the arguments of the program -> options, validated once | acting on them |
//! | `cli/options/command_line.rs` | arguments and environment as clap reads them | their meaning |
//! | `cli/options/config.rs` | the resolved options | resolving them |
//! | `cli/options/site.rs` | options of the site -> options of the server | listeners |
//! | `cli/options/root.rs` | the root directory, and files that must be outside it | opening it |
//! | `cli/options/users.rs` | `--auth` and `--auth-file` -> users | verifying passwords |
//! | `cli/options/group.rs` | headings of `--help` | the options below them |
//! | `cli/options/explain.rs` | arguments of `docroot explain` -> a request | sending it |
//! | `cli/options/compress.rs` | arguments of `docroot compress` | compressing |
//! | `cli/options/mistakes.rs` | messages for common mistakes in arguments and variables | accepting them |
//! | `cli/options/reference.rs` | the options as groups and entries, and docs/reference/options.md | their texts |
//! | `cli/options/values.rs` | text of an argument -> its value | the option it belongs to |
//! | `cli/options/binds.rs` | `--bind` and `--port` -> addresses | listening |
//! | `cli/options/etag.rs` | the source of entity tags | making them |
//! | `cli/options/defaults.rs` | CPUs and memory limit of the container -> threads, size of the cache | the cache |
//! | `cli/options/live.rs` | options for development | acting on them |
//! | `cli/options/health.rs` | options of the health check and of draining | acting on them |
//! | `cli/options/sandbox.rs` | sandbox mode, and the files that the server needs | confining |
//! | `cli/options/proxies.rs` | trusted proxies and the PROXY protocol | parsing their headers |
//! | `cli/options/log.rs` | options of the access log | writing it |
//! | `cli/options/metrics.rs` | the option of the metrics | serving them |
//! | `cli/options/manual.rs` | the manual page and shell completions | printing them |
//! | `cli/options/healthcheck.rs` | options of `docroot healthcheck` | sending the request |
//! | `cli/banner.rs` | the start message, as text or JSON | which features are on |
//! | `cli/log_sink.rs` | the access log's sink: standard output, or a file that is reopened | the content of a line |
//! | `cli/browser.rs` | opening a browser when the server listens | the URL |
//! | `cli/qr.rs` | a URL as a QR code, and the choice of one that a phone can reach | where it is printed |
//! | `cli/check.rs` | `docroot --check`: what would be served, and what is wrong with it | examining files |
//! | `cli/compress.rs` | `docroot compress`: directory walk, threads, report | opening files; requests |
//! | `cli/explain/session.rs` | `docroot explain`: a request through a session without a socket | decisions |
//! | `cli/explain/reasons.rs` | records of a session -> reasons for its response | decisions |
//! | `cli/explain/codings.rs` | the content codings of a response, and why each is sent or not | choosing one |
//! | `cli/explain/report.rs` | an explanation as text or JSON | reasons |
//! | `cli/hash.rs` | `docroot hash`: password in, htpasswd line out | the hash function |
//! | `cli/service_manager.rs` | sd_notify(3) messages, and where to send them | when to send them |
//! | `cli/healthcheck.rs` | `docroot healthcheck`: one request to a server, and whether it is healthy | its address |
#![forbid(unsafe_code)]

pub mod auth;
pub mod blob;
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
