//! What one worker has answered, in numbers.

use std::time::Duration;

use crate::count::Count;
use crate::http::{Method, Recall, Status};

/// The bounds of the durations that are told apart: microseconds, and seconds in words.
const BOUNDS: [(u64, &str); 16] = [
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

/// What one worker has answered, in numbers, which others may read at any time. Answers count once they have left, their content
/// as it leaves.
///
/// They lie in cache lines of their own: what one worker counts holds up no other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    answers: [[Count; Status::ALL.len()]; Verb::ALL.len()],
    content: Count,
    /// One for each bound, and one for what is beyond all.
    durations: [Count; BOUNDS.len() + 1],
    nanos: Count,
    recalls: [Count; Recall::ALL.len()],
    waits: [Count; Awaited::ALL.len()],
}

/// A request's method, as far as it is told apart: a peer can make up any number of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// Any other one.
    Other,
    /// It could not be read.
    None,
}

/// What a peer was too slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The head of a request.
    Head,
    /// The content of one.
    Content,
    /// The next request.
    Request,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Other,
        Self::None,
    ];

    /// Its name.
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
            Some(Method::Unserved(_) | Method::Unknown(_)) => Self::Other,
            None => Self::None,
        }
    }
}

impl Awaited {
    /// All of it.
    pub const ALL: [Self; 3] = [Self::Head, Self::Content, Self::Request];
}

impl Counters {
    /// So many more bytes of content have left.
    pub(super) fn sent(&self, content: u64) {
        self.content.add(content);
    }

    /// An answer has left, so long after its request began.
    pub(super) fn answered(
        &self,
        verb: Verb,
        status: Status,
        duration: Duration,
        recall: Option<Recall>,
    ) {
        let answers = self.answers.get(verb as usize);
        add(answers.and_then(|of| of.get(status as usize)), 1);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Mostly it is the first.
        let place = BOUNDS.iter().position(|&(most, _)| micros <= most);
        add(self.durations.get(place.unwrap_or(BOUNDS.len())), 1);
        self.nanos
            .add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        if let Some(recall) = recall {
            add(self.recalls.get(recall as usize), 1);
        }
    }

    /// A peer has been given up that was too slow.
    pub(super) fn gave_up(&self, awaited: Awaited) {
        add(self.waits.get(awaited as usize), 1);
    }

    /// How many requests with this method were answered with this status.
    #[must_use]
    pub fn answers(&self, verb: Verb, status: Status) -> u64 {
        let answers = self.answers.get(verb as usize);
        get(answers.and_then(|of| of.get(status as usize)))
    }

    /// Bytes of content that were sent.
    #[must_use]
    pub fn content(&self) -> u64 {
        self.content.get()
    }

    /// For each bound, in seconds, how many requests took longer than the one before it and not longer than that;
    /// and at the end how many took longer than all.
    pub fn durations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|&(_, seconds)| seconds);
        bounds
            .chain(["+Inf"])
            .zip(self.durations.iter().map(Count::get))
    }

    /// How long all requests took together.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.nanos.get())
    }

    /// How many lookups went like this.
    #[must_use]
    pub fn lookups(&self, recall: Recall) -> u64 {
        get(self.recalls.get(recall as usize))
    }

    /// How many peers were given up that were too slow with this.
    #[must_use]
    pub fn too_slow(&self, awaited: Awaited) -> u64 {
        get(self.waits.get(awaited as usize))
    }
}

fn add(count: Option<&Count>, more: u64) {
    if let Some(count) = count {
        count.add(more);
    }
}

fn get(count: Option<&Count>) -> u64 {
    count.map_or(0, Count::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_place() {
        for (place, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, place);
        }
        for (place, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, place);
        }
        for (place, recall) in Recall::ALL.into_iter().enumerate() {
            assert_eq!(recall as usize, place);
        }
        for (place, awaited) in Awaited::ALL.into_iter().enumerate() {
            assert_eq!(awaited as usize, place);
        }
    }

    #[test]
    fn durations_are_told_apart_by_their_bounds() {
        let micros = |text: &str| text.parse::<f64>().unwrap() * 1e6;
        for (most, seconds) in BOUNDS {
            assert!((micros(seconds) - f64::from(u32::try_from(most).unwrap())).abs() < 1e-6);
        }
        let counters = Counters::default();
        for nanos in [0, 100_000, 100_999, 101_000, 10_000_000_000, 10_000_001_000] {
            let duration = Duration::from_nanos(nanos);
            counters.answered(Verb::Get, Status::Ok, duration, Some(Recall::Hit));
            counters.sent(2);
        }
        let some: Vec<_> = counters
            .durations()
            .filter(|&(_, count)| count > 0)
            .collect();
        assert_eq!(
            some,
            [("0.0001", 3), ("0.00025", 1), ("10", 1), ("+Inf", 1)]
        );
        assert_eq!(counters.duration(), Duration::from_nanos(20_000_302_999));
        assert_eq!(counters.answers(Verb::Get, Status::Ok), 6);
        assert_eq!(counters.answers(Verb::Head, Status::Ok), 0);
        assert_eq!((counters.content(), counters.lookups(Recall::Hit)), (12, 6));
    }
}
