//! Timeouts and limits of HTTP/1.1 connections.

use std::time::Duration;

/// Timeouts and limits of HTTP/1.1 connections.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Time for a head, from its first byte to its last; for the first head of a connection, from accept.
    pub header_timeout: Duration,
    /// Time from a response to the first byte of the next head; also from a head to the end of its content.
    pub idle_timeout: Duration,
    /// Limit on the size of a head, in bytes.
    pub max_head_bytes: usize,
    /// Limit on the content of a request, in bytes; more is refused.
    pub max_content_bytes: u64,
}

impl Default for HttpOptions {
    /// Sets timeouts of 10 and 60 seconds, and limits of 32 KiB and 1 MiB.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_head_bytes: 32 * 1024,
            max_content_bytes: 1024 * 1024,
        }
    }
}
