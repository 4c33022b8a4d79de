//! Answers to requests, whatever the version of HTTP: validation, health check, authorization, lookup, response, access
//! log and counters.
//!
//! A version of HTTP reads a request, calls [`Service::answer`], writes the response, and reports what it has queued and
//! sent; nothing here knows bytes on the wire.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod access_line;
mod access_log;
mod answer;
mod authorize;
mod counters;
mod health;
mod refusal;

pub use access_line::LogFormat;
pub use answer::{Answer, Client, Service, ServiceOptions};
pub use counters::{MethodLabel, RequestCounters, TimeoutKind};
pub use health::HealthCheck;
