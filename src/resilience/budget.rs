//! Limits the extra attempts per minute across all questions.
//!
//! An attempt is counted when it is decided, not when it is sent or finished, so a wave of failures cannot get through
//! at once. It is never returned, so nothing can leak. Invariant: no 60-second window exceeds the budget.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub struct Budget {
    per_minute: u32,
    /// When each attempt of the last minute was taken, oldest first. Never longer than the budget.
    taken: Mutex<VecDeque<Instant>>,
}

impl Budget {
    /// At most `per_minute` in any minute; zero allows none.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, taken: Mutex::default() }
    }

    pub const fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Takes one attempt; `false` if the last minute used up the budget.
    pub fn try_take(&self, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.front().is_some_and(|&at| now.saturating_duration_since(at) >= MINUTE) {
            taken.pop_front();
        }
        let left = taken.len() < usize::try_from(self.per_minute).unwrap_or(usize::MAX);
        if left {
            taken.push_back(now);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn s23_a_wave_decided_at_once_takes_no_more_than_the_budget() {
        let budget = Budget::new(60);
        let now = Instant::now();
        let taken = AtomicU32::new(0);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    let mine = (0..125).filter(|_| budget.try_take(now)).count();
                    taken.fetch_add(u32::try_from(mine).unwrap(), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(taken.into_inner(), 60);
    }

    #[test]
    fn no_minute_sees_more_than_the_budget_and_a_quiet_one_restores_it() {
        let budget = Budget::new(3);
        let start = Instant::now();
        let took: Vec<u64> = (0..200).filter(|&second| budget.try_take(start + Duration::from_secs(second))).collect();
        assert_eq!(took, [0, 1, 2, 60, 61, 62, 120, 121, 122, 180, 181, 182]);
        let quiet = start + Duration::from_secs(1000);
        assert_eq!((0..10).filter(|_| budget.try_take(quiet)).count(), 3);
    }

    #[test]
    fn a_budget_of_zero_allows_no_extra_attempt() {
        assert!(!Budget::new(0).try_take(Instant::now()));
    }
}
