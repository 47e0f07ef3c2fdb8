//! How long one question waits for Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

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

    pub(super) fn left(&self) -> Duration {
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
