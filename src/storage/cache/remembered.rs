//! A verdict as the cache stores it.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::{Moment, Monotonic};
use crate::domain::verdict::{RequestId, Verdict};

/// A cached verdict: which provider gave it, when, and under which reference. It contains no name and no ID number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub verdict: Verdict,
    /// The provider that gave it, which need not be the first in the chain.
    pub provider: Arc<str>,
    /// The provider's reference.
    pub request_id: Option<RequestId>,
    /// When the provider answered.
    pub verified_at: Moment,
}

impl Remembered {
    /// How long ago the provider answered, whatever became of the wall clock since.
    pub fn age(&self, now: Monotonic) -> Duration {
        now.since(self.verified_at.monotonic)
    }
}
