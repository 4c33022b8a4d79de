//! Counters of a worker's responses, for the metrics.

use std::time::Duration;

use crate::http::{CacheStatus, Method, Status};
use crate::sync::Counter;

/// Upper bounds of the duration histogram: in microseconds, and in seconds as text.
const DURATION_BUCKETS: [(u64, &str); 16] = [
    (100, "0.0001"),
    (250, "0.00025"),
    (500, "0.0005"),
    (1000, "0.001"),
    (2500, "0.0025"),
    (5000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// Counters of a worker's responses, readable from any thread. A response counts once it is sent completely, its
/// content as it is sent.
///
/// Aligned to cache lines of their own, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RequestCounters {
    responses: [[Counter; Status::ALL.len()]; MethodLabel::ALL.len()],
    content_bytes: Counter,
    /// One per bucket, and one for longer durations.
    durations: [Counter; DURATION_BUCKETS.len() + 1],
    nanos: Counter,
    lookups: [Counter; CacheStatus::ALL.len()],
    timeouts: [Counter; TimeoutKind::ALL.len()],
}

/// Request method as a label. Unknown methods share one, because clients can invent any number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodLabel {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// Any other method.
    Other,
    /// The request could not be parsed.
    None,
}

/// Part of a request for which the wait timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// The head of a request.
    Head,
    /// The content of a request.
    Content,
    /// The next request.
    Request,
}

impl MethodLabel {
    /// All labels.
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Other,
        Self::None,
    ];

    /// Value of the label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Other => "other",
            Self::None => "none",
        }
    }

    pub(super) fn of(method: Option<Method<'_>>) -> Self {
        match method {
            Some(Method::Get) => Self::Get,
            Some(Method::Head) => Self::Head,
            Some(Method::Options) => Self::Options,
            Some(Method::Unsupported(_) | Method::Unknown(_)) => Self::Other,
            None => Self::None,
        }
    }
}

impl TimeoutKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Head, Self::Content, Self::Request];
}

impl RequestCounters {
    /// Adds bytes of content sent.
    pub(super) fn add_content(&self, content: u64) {
        self.content_bytes.add(content);
    }

    /// Counts a response that has been sent, and the time since its request began.
    pub(super) fn record_response(
        &self,
        method: MethodLabel,
        status: Status,
        duration: Duration,
        cache_status: Option<CacheStatus>,
    ) {
        let responses = self.responses.get(method as usize);
        add(responses.and_then(|of| of.get(status as usize)), 1);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // The first bucket is the most frequent.
        let index = DURATION_BUCKETS.iter().position(|&(max, _)| micros <= max);
        add(
            self.durations.get(index.unwrap_or(DURATION_BUCKETS.len())),
            1,
        );
        self.nanos
            .add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        if let Some(cache_status) = cache_status {
            add(self.lookups.get(cache_status as usize), 1);
        }
    }

    /// Counts a connection that timed out.
    pub(super) fn record_timeout(&self, timeout: TimeoutKind) {
        add(self.timeouts.get(timeout as usize), 1);
    }

    /// Number of responses with this method and status.
    #[must_use]
    pub fn responses(&self, method: MethodLabel, status: Status) -> u64 {
        let responses = self.responses.get(method as usize);
        get(responses.and_then(|of| of.get(status as usize)))
    }

    /// Bytes of content sent.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes.get()
    }

    /// Number of requests per duration bucket, each with its upper bound in seconds: those that took longer than the
    /// bound before it and at most this one. The last bucket has no bound.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = DURATION_BUCKETS.iter().map(|&(_, seconds)| seconds);
        bounds
            .chain(["+Inf"])
            .zip(self.durations.iter().map(Counter::get))
    }

    /// Sum of the durations of all requests.
    #[must_use]
    pub fn total_duration(&self) -> Duration {
        Duration::from_nanos(self.nanos.get())
    }

    /// Number of lookups with this use of the cache.
    #[must_use]
    pub fn lookups(&self, cache_status: CacheStatus) -> u64 {
        get(self.lookups.get(cache_status as usize))
    }

    /// Number of connections that timed out in this part of a request.
    #[must_use]
    pub fn timeouts(&self, timeout: TimeoutKind) -> u64 {
        get(self.timeouts.get(timeout as usize))
    }
}

fn add(count: Option<&Counter>, more: u64) {
    if let Some(count) = count {
        count.add(more);
    }
}

fn get(count: Option<&Counter>) -> u64 {
    count.map_or(0, Counter::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_variants_in_declaration_order() {
        for (index, method) in MethodLabel::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index);
        }
        for (index, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, index);
        }
        for (index, cache_status) in CacheStatus::ALL.into_iter().enumerate() {
            assert_eq!(cache_status as usize, index);
        }
        for (index, timeout) in TimeoutKind::ALL.into_iter().enumerate() {
            assert_eq!(timeout as usize, index);
        }
    }

    #[test]
    fn durations_are_counted_in_buckets() {
        let micros = |text: &str| text.parse::<f64>().unwrap() * 1e6;
        for (max, seconds) in DURATION_BUCKETS {
            assert!((micros(seconds) - f64::from(u32::try_from(max).unwrap())).abs() < 1e-6);
        }
        let counters = RequestCounters::default();
        for nanos in [0, 100_000, 100_999, 101_000, 10_000_000_000, 10_000_001_000] {
            let duration = Duration::from_nanos(nanos);
            counters.record_response(
                MethodLabel::Get,
                Status::Ok,
                duration,
                Some(CacheStatus::Hit),
            );
            counters.add_content(2);
        }
        let non_empty: Vec<_> = counters
            .durations()
            .filter(|&(_, count)| count > 0)
            .collect();
        assert_eq!(
            non_empty,
            [("0.0001", 3), ("0.00025", 1), ("10", 1), ("+Inf", 1)]
        );
        assert_eq!(
            counters.total_duration(),
            Duration::from_nanos(20_000_302_999)
        );
        assert_eq!(counters.responses(MethodLabel::Get, Status::Ok), 6);
        assert_eq!(counters.responses(MethodLabel::Head, Status::Ok), 0);
        assert_eq!(
            (counters.content_bytes(), counters.lookups(CacheStatus::Hit)),
            (12, 6)
        );
    }
}
