//! What happened lately, in constant memory: a ring of buckets, each a tenth of the window.
//!
//! Invariant: a bucket knows which tenth of all time it counts, so an old one is never read as a new one,
//! nothing has to be swept, and callers whose clocks differ by a little do no harm.

use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: usize = 10;

/// The calls of the last ten tenths.
pub struct Window {
    origin: Instant,
    length: Duration,
    buckets: [Bucket; BUCKETS],
}

/// How many calls ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that counted.
    pub calls: u32,
    /// Of these, failed.
    pub failed: u32,
    /// Of these, answered but slow.
    pub slow: u32,
}

/// How a call ended, as far as the window cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Answered in time.
    Good,
    /// Answered, slowly.
    Slow,
    /// Failed.
    Failed,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Which tenth since the origin; the first is [`BUCKETS`], so that an unused bucket is always too old.
    tenth: usize,
    counts: Counts,
}

impl Window {
    /// An empty window of this length.
    pub fn new(length: Duration, now: Instant) -> Self {
        Self { origin: now, length, buckets: Default::default() }
    }

    /// How far back it looks.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Counts the end of one call.
    pub fn record(&mut self, now: Instant, end: End) {
        let tenth = self.tenth(now);
        let Some(bucket) = self.buckets.get_mut(tenth % BUCKETS) else { return };
        if bucket.tenth < tenth {
            *bucket = Bucket { tenth, counts: Counts::default() };
        }
        // A bucket ahead of this call's clock belongs to a window in which the call has no place.
        if bucket.tenth == tenth {
            let counts = &mut bucket.counts;
            counts.calls = counts.calls.saturating_add(1);
            counts.failed = counts.failed.saturating_add(u32::from(end == End::Failed));
            counts.slow = counts.slow.saturating_add(u32::from(end == End::Slow));
        }
    }

    /// The sum of the last ten tenths, the running one included.
    pub fn counts(&self, now: Instant) -> Counts {
        let tenth = self.tenth(now);
        let fresh = self.buckets.iter().filter(|bucket| bucket.tenth + BUCKETS > tenth);
        fresh.fold(Counts::default(), |sum, Bucket { counts, .. }| Counts {
            calls: sum.calls.saturating_add(counts.calls),
            failed: sum.failed.saturating_add(counts.failed),
            slow: sum.slow.saturating_add(counts.slow),
        })
    }

    fn tenth(&self, now: Instant) -> usize {
        let width = (self.length.as_nanos() / BUCKETS as u128).max(1);
        let since = now.saturating_duration_since(self.origin).as_nanos();
        usize::try_from(since / width).unwrap_or(usize::MAX - 2 * BUCKETS) + BUCKETS
    }
}

impl Counts {
    /// Whether failed calls make up this share of at least so many.
    pub fn failed_share_reaches(self, ratio: f64, minimum_calls: u32) -> bool {
        self.reaches(self.failed, ratio, minimum_calls)
    }

    /// Whether slow answers make up this share of at least so many.
    pub fn slow_share_reaches(self, ratio: f64, minimum_calls: u32) -> bool {
        self.reaches(self.slow, ratio, minimum_calls)
    }

    fn reaches(self, part: u32, ratio: f64, minimum_calls: u32) -> bool {
        self.calls >= minimum_calls && f64::from(part) >= ratio * f64::from(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_leave_the_window_a_tenth_at_a_time() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut window = Window::new(Duration::from_mins(1), start);
        for second in 0..60 {
            window.record(at(second), End::Failed);
        }
        assert_eq!(window.counts(at(59)).calls, 60);
        assert_eq!(window.counts(at(60)).calls, 54);
        assert_eq!(window.counts(at(113)).calls, 6);
        assert_eq!(window.counts(at(114)), Counts::default());
        window.record(at(3_600), End::Slow);
        assert_eq!(window.counts(at(3_600)), Counts { calls: 1, failed: 0, slow: 1 });
    }

    #[test]
    fn a_clock_that_lags_by_a_tenth_still_counts_and_one_that_lags_by_a_window_does_not() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut window = Window::new(Duration::from_mins(1), start);
        window.record(at(60), End::Good);
        window.record(at(55), End::Failed);
        window.record(at(0), End::Failed);
        assert_eq!(window.counts(at(60)), Counts { calls: 2, failed: 1, slow: 0 });
        assert_eq!(window.counts(at(55)), Counts { calls: 2, failed: 1, slow: 0 });
    }
}
