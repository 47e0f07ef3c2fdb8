//! A sliding window of call results in constant memory: ten buckets in a circular array, each covering a tenth of the
//! window.
//!
//! Invariant: a bucket records which tenth since the origin it counts. So an old bucket is never mistaken for a new
//! one, nothing has to be cleaned up, and small clock differences between callers are harmless.

use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: usize = 10;

pub struct Window {
    origin: Instant,
    length: Duration,
    buckets: [Bucket; BUCKETS],
}

/// Numbers of calls in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: u32,
    pub failed: u32,
    /// Answered, but slow.
    pub slow: u32,
}

/// How a call ended, from the point of view of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Answered in time.
    Good,
    /// Answered, but slow.
    Slow,
    Failed,
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    /// The tenth since the origin. The first is number [`BUCKETS`], so that an unused bucket always counts as expired.
    tenth: usize,
    counts: Counts,
}

impl Window {
    pub fn new(length: Duration, now: Instant) -> Self {
        Self { origin: now, length, buckets: Default::default() }
    }

    pub fn length(&self) -> Duration {
        self.length
    }

    pub fn record(&mut self, now: Instant, end: End) {
        let tenth = self.tenth(now);
        let Some(bucket) = self.buckets.get_mut(tenth % BUCKETS) else { return };
        if bucket.tenth < tenth {
            *bucket = Bucket { tenth, counts: Counts::default() };
        }
        // A bucket newer than this call's clock has already replaced the one the call would count in.
        if bucket.tenth == tenth {
            let counts = &mut bucket.counts;
            counts.calls = counts.calls.saturating_add(1);
            counts.failed = counts.failed.saturating_add(u32::from(end == End::Failed));
            counts.slow = counts.slow.saturating_add(u32::from(end == End::Slow));
        }
    }

    /// Sum of the last ten tenths, including the current one.
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
    /// Whether at least `minimum_calls` were made and at least the share `ratio` of them failed.
    pub fn failed_share_reaches(self, ratio: f64, minimum_calls: u32) -> bool {
        self.reaches(self.failed, ratio, minimum_calls)
    }

    /// Whether at least `minimum_calls` were made and at least the share `ratio` of them were slow.
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
