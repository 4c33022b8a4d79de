//! Time in which a peer must take more of what is queued: the bytes that it takes buy time, at the minimum rate.

use std::time::{Duration, Instant};

use super::limits::Limits;

/// Bytes that the kernels of both ends buffer for a peer that reads nothing, with Linux's defaults. They do not show
/// that the peer reads, nor that it does not: of a peer that has read 100 KiB they may have taken no more.
const BUFFERED_BYTES: u64 = 256 * 1024;

/// Maximum credit. A peer takes in lumps and pauses: a player fills its buffer, a pager waits for a key, and the kernel
/// reports room only when much of its buffer is free (4 MiB at 40 KiB per second last 100 seconds). A peer that has
/// vanished keeps its place for this time.
const MAX_CREDIT: Duration = Duration::from_secs(5 * 60);

/// Time in which a peer must take more of what is queued.
///
/// A peer starts with [`Limits::stall_timeout`], and n bytes taken buy n / [`Limits::min_rate`] seconds. So on average
/// each second beyond the first `stall_timeout` costs `min_rate` bytes, however they are spread. The credit is at most
/// twice `stall_timeout` and what the bytes beyond [`BUFFERED_BYTES`] have bought, and at most [`MAX_CREDIT`] unless
/// `stall_timeout` is longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadCredit {
    /// Time at which the credit is used up.
    end: Instant,
    /// Bytes taken since the measurement started.
    taken: u64,
}

impl ReadCredit {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            end: now + limits.stall_timeout,
            taken: 0,
        }
    }

    /// Adds the credit for bytes that the peer has just taken.
    pub(super) fn add(&mut self, bytes: u64, now: Instant, limits: &Limits) {
        if bytes == 0 {
            return;
        }
        self.taken += bytes;
        let proven = self.taken.saturating_sub(BUFFERED_BYTES);
        let max = 2 * limits.stall_timeout + price(proven, limits);
        let max = max.min(MAX_CREDIT).max(limits.stall_timeout);
        // A credit that has ended while the server was held up is no debt of the peer.
        let paid = self.end.max(now) + price(bytes, limits);
        self.end = paid.min(now + max);
    }

    /// Returns the time at which the credit is used up; `None` is never.
    pub(super) fn end(&self, limits: &Limits) -> Option<Instant> {
        (limits.min_rate > 0).then_some(self.end)
    }
}

/// Returns the time that these bytes take at the minimum rate.
fn price(bytes: u64, limits: &Limits) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / limits.min_rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    /// Returns the second at which the credit of a peer ends that takes these bytes at these seconds, at a minimum rate
    /// of 1 KiB per second and a stall timeout of 60 seconds.
    fn end(taken: &[(u64, u64)]) -> u64 {
        end_with(1024, 60, taken)
    }

    fn end_with(min_rate: u64, stall_seconds: u64, taken: &[(u64, u64)]) -> u64 {
        let limits = Limits {
            min_rate,
            stall_timeout: Duration::from_secs(stall_seconds),
            ..Limits::default()
        };
        let start = Instant::now();
        let mut credit = ReadCredit::new(start, &limits);
        for (at, bytes) in taken {
            credit.add(*bytes, start + Duration::from_secs(*at), &limits);
        }
        let end = credit.end(&limits).unwrap();
        end.duration_since(start).as_secs()
    }

    #[test]
    fn credit_ends_after_what_the_taken_bytes_buy() {
        for (taken, expected) in [
            // Nothing is taken, and nothing but what the kernels buffer.
            (&[][..], 60),
            (&[(0, 0)], 60),
            (&[(0, 40 * KIB)], 100),
            (&[(0, 64 * KIB)], 120),
            (&[(0, 128 * KIB), (1, 128 * KIB)], 121),
            // Bytes beyond that buy a longer pause.
            (&[(0, 257 * KIB)], 121),
            (&[(0, 356 * KIB)], 220),
            // Up to five minutes.
            (&[(0, 436 * KIB)], 300),
            (&[(0, 4096 * KIB)], 300),
            (&[(0, 4096 * KIB), (100, KIB)], 301),
            (&[(0, 4096 * KIB), (299, 4096 * KIB)], 599),
            // Single bytes do not extend it.
            (&[(59, 1)], 60),
            (&[(10, 1), (20, 1), (30, 1), (40, 1), (50, 1)], 60),
            // A credit that has ended is no debt.
            (&[(100, 10 * KIB)], 110),
        ] {
            assert_eq!(end(taken), expected, "{taken:?}");
        }
    }

    #[test]
    fn steady_reader_above_the_minimum_rate_keeps_its_place() {
        // With an MTU of 64 KiB, as on loopback, the kernel asks for more when it has room for 64 KiB.
        const DAY: u64 = 24 * 3600;
        let limits = Limits::default();
        for (first, pause, bytes, is_kept) in [
            (0, 1, KIB, true),
            (0, 1, KIB - 10, false),
            (0, 32, 64 * KIB, true),
            (0, 59, 64 * KIB, true),
            (0, 59, 32 * KIB, false),
            (0, 61, 64 * KIB, false),
            (100 * KIB, 100, 110 * KIB, true),
            (100 * KIB, 121, 128 * KIB, false),
            (300 * KIB, 121, 128 * KIB, true),
            (300 * KIB, 1, 1, false),
            // curl --limit-rate 40k, which the kernel reports in lumps of 4 MiB.
            (4096 * KIB, 100, 4000 * KIB, true),
            (4096 * KIB, 301, 4000 * KIB, false),
        ] {
            let start = Instant::now();
            let mut credit = ReadCredit::new(start, &limits);
            credit.add(first, start, &limits);
            let cut = (1..DAY / pause).find(|number| {
                let now = start + Duration::from_secs(number * pause);
                let is_cut = credit.end(&limits).unwrap() <= now;
                credit.add(bytes, now, &limits);
                is_cut
            });
            assert_eq!(
                cut.is_none(),
                is_kept,
                "{first}, then {bytes} every {pause} s"
            );
        }
    }

    #[test]
    fn credit_follows_the_limits() {
        // A high rate buys little time, also for a single byte.
        assert_eq!(end_with(1 << 20, 2, &[(0, 300 * KIB)]), 2);
        assert_eq!(end_with(1 << 20, 2, &[(0, 8 << 20)]), 10);
        assert_eq!(end_with(1, 2, &[(0, u64::MAX)]), 300);
        // A stall timeout above five minutes holds for every peer.
        assert_eq!(end_with(1024, 600, &[(0, 4096 * KIB)]), 600);
        assert_eq!(end_with(1024, 600, &[]), 600);
        let limits = Limits {
            min_rate: 0,
            ..Limits::default()
        };
        let credit = ReadCredit::new(Instant::now(), &limits);
        assert_eq!(credit.end(&limits), None);
    }
}
