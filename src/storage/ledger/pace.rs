//! How fast the flusher works. On a machine with one processor it takes that from requests: what it does without a rest
//! is what a request waits for, and its share of a second is what requests lack. So it works in small pieces, and spreads
//! a file evenly over a while, unless somebody waits for it or the file is long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Over which time a file is spread.
const SPREAD: Duration = Duration::from_millis(400);
/// The longest rest: the transaction is open meanwhile, and few entries need not take as long as many.
const LONGEST: Duration = Duration::from_millis(20);
/// Up to this length in bytes a file is moved in small pieces.
const SHORT: u64 = 1 << 24;
/// From this length on it is moved without a rest; below, each rest is as long as the work before it, so that the flusher
/// takes half of a processor at most.
const LONG: u64 = 1 << 26;

#[derive(Debug)]
pub(super) struct Pace {
    is_hurried: Arc<AtomicBool>,
    /// The bytes to move, and how many of them have been.
    total: u64,
    moved: u64,
    began: Instant,
    /// The end of the last rest.
    rested: Instant,
}

impl Pace {
    /// For a file with `total` bytes to move. There are no rests while `is_hurried` is set.
    pub(super) fn new(total: u64, is_hurried: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        Self { is_hurried, total, moved: 0, began: now, rested: now }
    }

    /// How many entries are moved in one transaction, or somewhat more.
    pub(super) const fn part(&self) -> usize {
        if self.total < SHORT { 512 } else { 2048 }
    }

    /// How many entries are inserted without a rest.
    pub(super) const fn piece(&self) -> usize {
        if self.total < SHORT { 64 } else { 512 }
    }

    /// Rests before so many more bytes are moved.
    pub(super) async fn rest_before(&mut self, bytes: u64) {
        if self.moved > 0 && self.total < LONG && !self.is_hurried.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = self.began + SPREAD.mul_f64((self.moved as f64 / self.total.max(1) as f64).min(1.0));
            sleep((due - now).max(now - self.rested).min(LONGEST)).await;
        }
        self.rested = Instant::now();
        self.moved += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a file of this length takes if the work itself takes no time.
    async fn time_for(total: u64, is_hurried: bool) -> Duration {
        let mut pace = Pace::new(total, Arc::new(AtomicBool::new(is_hurried)));
        let began = Instant::now();
        for _ in 0..64 {
            pace.rest_before(total / 64).await;
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_spread_over_a_while_unless_somebody_waits_or_it_is_long() {
        let took = time_for(1 << 22, false).await;
        assert!((SPREAD * 9 / 10..SPREAD * 11 / 10).contains(&took), "{took:?}");
        assert_eq!(time_for(1 << 22, true).await, Duration::ZERO);
        assert_eq!(time_for(LONG, false).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn few_entries_go_at_once() {
        let mut pace = Pace::new(1000, Arc::default());
        let began = Instant::now();
        pace.rest_before(1000).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
