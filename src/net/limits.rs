//! Limits of one reactor: connections, bytes and times.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits of one reactor: connections, bytes and times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of open connections. At the limit a new connection replaces the one that has been idle longest;
    /// if none is idle, the new one stays in the listener's backlog.
    pub connections: usize,
    /// Maximum number of bytes that a session may leave unconsumed in its inbox, and that one `recv` reads.
    pub inbox_bytes: usize,
    /// Minimum rate, in bytes per second, at which a peer must take queued bytes: the bytes that it takes buy time at
    /// this rate. 0 is no minimum, and no [`stall_timeout`](Self::stall_timeout).
    pub min_rate: u64,
    /// Duration for which a peer may take none of the queued bytes, without having bought time. A peer that may have
    /// read nothing but what the kernels buffer buys no more than this once again.
    pub stall_timeout: Duration,
    /// Maximum number of bytes that are sent to one peer and not yet read by it: the buffers of both ends' kernels.
    pub max_in_flight: u64,
    /// Duration for which input is read and discarded after [`Next::LingeringClose`](super::Next::LingeringClose).
    pub linger: Duration,
    /// Grace period in which connections may finish after [`ReactorHandle::stop`](super::ReactorHandle::stop).
    pub grace: Duration,
    /// Duration without an event after which [`Protocol::on_idle`](super::Protocol::on_idle) is called; `None` is
    /// never.
    pub idle_interval: Option<Duration>,
}

impl Default for Limits {
    /// Returns as many connections as the descriptor limit allows, 64 KiB of input, 1 KiB per second after 60 seconds, 5
    /// seconds of lingering, 8 seconds of grace (container runtimes kill after 10), no idle
    /// interval.
    fn default() -> Self {
        Self::for_reactors(1, 0)
    }
}

impl Limits {
    /// Returns the defaults for this number of reactors together, in a process that needs `reserved` descriptors for
    /// files that are not being sent.
    #[must_use]
    pub fn for_reactors(reactors: usize, reserved: usize) -> Self {
        Self {
            connections: max_connections(getrlimit(Resource::Nofile).current, reactors, reserved),
            inbox_bytes: 64 * 1024,
            min_rate: 1024,
            stall_timeout: Duration::from_secs(60),
            max_in_flight: default_max_in_flight(),
            linger: Duration::from_secs(5),
            grace: Duration::from_secs(8),
            idle_interval: None,
        }
    }

    /// Returns one reactor's share when this number of reactors divide these limits: the connections are divided and
    /// rounded up.
    #[must_use]
    pub fn divided_by(&self, reactors: usize) -> Self {
        Self {
            connections: self.connections.div_ceil(reactors.max(1)),
            ..self.clone()
        }
    }
}

/// Returns the most bytes that the kernel buffers for both ends of a connection on this machine: the maximum of
/// tcp_wmem plus that of tcp_rmem (tcp(7)) or twice net.core.rmem_max (the kernel doubles it, socket(7)), whichever is
/// larger. Where these cannot be read, a value above Linux's defaults.
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

/// Raises this process's soft limit of open descriptors to its hard limit, and returns the limit then in force. A
/// higher limit costs nothing: the kernel allocates a descriptor when it is opened.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If the kernel refuses, the old limit stays in force and is returned.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Returns how many connections the descriptors allow. A connection may need two: its socket and the file that it is
/// sent. Some are reserved for the log, for each reactor (its poll, listeners, root and inotify instance), and `reserved`
/// for other files.
fn max_connections(descriptors: Option<u64>, reactors: usize, reserved: usize) -> usize {
    const RESERVED_DESCRIPTORS: u64 = 16;
    const RESERVED_PER_REACTOR: u64 = 12;
    const MAX_CONNECTIONS: u64 = 1 << 20;
    let descriptors = descriptors.unwrap_or(u64::MAX);
    let reserved = RESERVED_DESCRIPTORS + RESERVED_PER_REACTOR * reactors as u64 + reserved as u64;
    let connections = (descriptors.saturating_sub(reserved) / 2).clamp(1, MAX_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_takes_two_descriptors() {
        assert_eq!(max_connections(Some(1024), 1, 64), 466);
        assert_eq!(max_connections(Some(1024), 2, 64), 460);
        assert_eq!(max_connections(Some(64), 1, 4), 16);
        assert_eq!(max_connections(Some(8), 1, 0), 1);
        assert_eq!(max_connections(None, 1, 1024), 1 << 20);
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
