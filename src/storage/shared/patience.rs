//! How long one question waits for Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Redis is quick if it takes at most this part of the patience.
const QUICK: u32 = 5;

/// Redis did not answer within the patience, or is known not to: use the local stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared store is away")]
pub struct Away;

/// How long one question still waits for Redis, in all. Clones share it.
#[derive(Debug, Clone)]
pub struct Patience(Option<Arc<AtomicU64>>);

impl Patience {
    /// Waits for nothing.
    pub const NONE: Self = Self(None);

    pub fn of(left: Duration) -> Self {
        Self(Some(Arc::new(AtomicU64::new(micros(left)))))
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// What a call may wait for Redis once this question has found out that it has to call; `whole` is a question's patience.
    ///
    /// Where finding out was quick it is all of it, or questions that waited for each other would count against a part of a
    /// limit instead of all of it. Where Redis is slow it is what is left: nobody waits for a slow Redis twice.
    pub(super) fn of_the_call(&self, whole: Duration) -> Self {
        let was_quick = whole.saturating_sub(self.left()) <= whole / QUICK;
        if was_quick { Self::of(whole) } else { self.clone() }
    }

    /// What is left.
    pub fn left(&self) -> Duration {
        Duration::from_micros(self.0.as_ref().map_or(0, |left| left.load(Ordering::Relaxed)))
    }

    pub(super) fn spent(&self, since: Instant) {
        let spent = micros(since.elapsed());
        // Racing commands of one question may both be charged; that only makes it less patient.
        let Some(left) = &self.0 else { return };
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(spent)));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_anew_only_where_redis_was_quick() {
        let whole = Duration::from_millis(50);
        let left_of_a_call = |left| Patience::of(Duration::from_millis(left)).of_the_call(whole).left().as_millis();
        assert_eq!([50, 45, 40, 39, 10, 0].map(left_of_a_call), [50, 50, 50, 39, 10, 0]);
        assert!(Patience::NONE.of_the_call(whole).is_over());
    }
}
