//! How much one reactor takes on.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::per_ip_limit::PerIpLimit;

/// How much one reactor takes on, and how long it waits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections held at once. When there are as many, a new one takes the place of the one that has
    /// waited longest for its peer; where none waits, it waits in the listener's backlog itself.
    pub connections: usize,
    /// Who counts the connections held at once for one peer's address, and how many those may be; one
    /// more is closed as soon as it comes. `None` is no limit.
    pub per_ip_limit: Option<PerIpLimit>,
    /// Bytes that a session may leave unconsumed in its inbox, which is also the most that one
    /// `recv` takes.
    pub inbox_bytes: usize,
    /// Bytes per second that a peer must take from us while something is queued for it, averaged
    /// over [`rate_window`](Self::rate_window). 0 lets a peer take as long as it likes.
    pub min_rate: u64,
    /// How long a peer's pace is watched before it is judged.
    pub rate_window: Duration,
    /// Bytes that may have been sent to one peer and not been taken by it: what both ends' kernels hold.
    pub max_in_flight: u64,
    /// How long a peer's words are read away after [`Next::LingeringClose`](super::Next::LingeringClose).
    pub linger: Duration,
    /// How long conversations may take to finish after [`ReactorHandle::stop`](super::ReactorHandle::stop).
    pub grace: Duration,
    /// How long without an event until [`Protocol::on_idle`](super::Protocol::on_idle); `None` is never.
    pub idle_interval: Option<Duration>,
}

impl Default for Limits {
    /// As many connections as the descriptors allow, for whomever, 64 KiB read at once, 1 KiB per
    /// second over 30 seconds, 5 seconds of lingering, 8 seconds of grace (container runtimes kill after 10),
    /// no interval.
    fn default() -> Self {
        Self::for_reactors(1)
    }
}

impl Limits {
    /// The default of so many reactors together.
    #[must_use]
    pub fn for_reactors(reactors: usize) -> Self {
        Self {
            connections: max_connections(getrlimit(Resource::Nofile).current, reactors),
            per_ip_limit: None,
            inbox_bytes: 64 * 1024,
            min_rate: 1024,
            rate_window: Duration::from_secs(30),
            max_in_flight: default_max_in_flight(),
            linger: Duration::from_secs(5),
            grace: Duration::from_secs(8),
            idle_interval: None,
        }
    }

    /// Each one's share when so many reactors keep to these limits together: of the connections,
    /// rounded up. Who counts those of a peer counts them for all.
    #[must_use]
    pub fn divided_by(&self, reactors: usize) -> Self {
        Self {
            connections: self.connections.div_ceil(reactors.max(1)),
            ..self.clone()
        }
    }

    /// The bytes that a peer must have taken when its pace is judged.
    pub(super) fn min_bytes_per_window(&self) -> u64 {
        let millis = u64::try_from(self.rate_window.as_millis()).unwrap_or(u64::MAX);
        self.min_rate.saturating_mul(millis) / 1000
    }
}

/// What both ends of a connection on this machine may hold at the most, by tcp_wmem and tcp_rmem (tcp(7)), and by
/// net.core.rmem_max, which counts twice (socket(7)); where that cannot be read, what Linux has by default, and more.
fn default_max_in_flight() -> u64 {
    const DEFAULT: u64 = 16 * 1024 * 1024;
    let sysctl_max = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?;
        text.split_whitespace().last()?.parse().ok()
    };
    let sum = || {
        let (sent, received) = (sysctl_max("ipv4/tcp_wmem")?, sysctl_max("ipv4/tcp_rmem")?);
        Some(sent + received.max(2 * sysctl_max("core/rmem_max")?))
    };
    sum().unwrap_or(DEFAULT)
}

/// Raises this process's soft limit of open descriptors to its hard limit, and returns what is in
/// force then. Costs nothing: a descriptor is paid for when it is opened.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // What the kernel refuses leaves the limit as it was, which is what we then report.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many of so many descriptors may be held for files that are sent to nobody just now.
#[must_use]
pub fn max_cached_files(descriptors: u64) -> usize {
    const MAX_FILES: u64 = 1024;
    usize::try_from((descriptors / 16).min(MAX_FILES)).unwrap_or_default()
}

/// A connection may need two descriptors, its socket and the file it is being sent; some are kept
/// for the log, for what each reactor has (its poll, its listeners, its root, its ear for changes), and for
/// files that are sent to nobody just now.
fn max_connections(descriptors: Option<u64>, reactors: usize) -> usize {
    const RESERVED_DESCRIPTORS: u64 = 16;
    const RESERVED_PER_REACTOR: u64 = 12;
    const MAX_CONNECTIONS: u64 = 1 << 20;
    let descriptors = descriptors.unwrap_or(u64::MAX);
    let reserved = RESERVED_DESCRIPTORS
        + RESERVED_PER_REACTOR * reactors as u64
        + max_cached_files(descriptors) as u64;
    let connections = (descriptors.saturating_sub(reserved) / 2).clamp(1, MAX_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_takes_two_descriptors() {
        assert_eq!(max_connections(Some(1024), 1), 466);
        assert_eq!(max_connections(Some(1024), 2), 460);
        assert_eq!(max_connections(Some(64), 1), 16);
        assert_eq!(max_connections(Some(8), 1), 1);
        assert_eq!(max_connections(None, 1), 1 << 20);
    }

    #[test]
    fn connections_per_reactor_are_rounded_up() {
        let limits = Limits {
            connections: 10,
            ..Limits::default()
        };
        let shares = [1, 2, 3, 20].map(|reactors| limits.divided_by(reactors).connections);
        assert_eq!(shares, [10, 5, 4, 1]);
    }
}
