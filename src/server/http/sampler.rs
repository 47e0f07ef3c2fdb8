//! At most so many lines a second of one kind, and a count of those that were left out, so that a stranger cannot fill a
//! disk by making us write about it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Sampler(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    left_out: u64,
}

impl Sampler {
    /// Whether the next line may be written. If not, it is counted.
    pub fn passes(&self, per_second: u32) -> bool {
        let now = Instant::now();
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            (window.began, window.passed) = (Some(now), 0);
        }
        let passes = window.passed < per_second;
        match passes {
            true => window.passed += 1,
            false => window.left_out += 1,
        }
        passes
    }

    /// The number of lines that were left out since the last time it was asked for.
    pub fn take_left_out(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_lines_a_second_pass_and_the_others_are_counted_once() {
        let sampler = Sampler::default();
        let passed = |most| (0..100).filter(|_| sampler.passes(most)).count();
        assert_eq!((passed(20), sampler.take_left_out(), sampler.take_left_out()), (20, 80, 0));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(passed(20), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((passed(20), sampler.take_left_out()), (20, 180));
        tokio::time::advance(WINDOW).await;
        assert_eq!(passed(0), 0, "none at all");
    }
}
