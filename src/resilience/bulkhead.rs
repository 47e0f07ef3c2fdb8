//! Limits the number of concurrent calls; further calls are refused immediately.
//!
//! Invariant: there is no queue. A caller that would have to wait is better served by the next provider, and a queue in
//! front of a slow provider only grows. A slot is released on drop, however its call ended.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A fixed number of slots. Clones share them.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    slots: Arc<Semaphore>,
    limit: usize,
}

/// The right to make one call. Dropping it frees the slot.
#[derive(Debug)]
#[must_use = "a dropped slot is a free slot"]
pub struct Slot {
    _held: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many calls as allowed are in flight")]
pub struct Full;

impl Bulkhead {
    /// At most `limit` concurrent calls; zero refuses every call.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(limit)), limit }
    }

    pub fn try_enter(&self) -> Result<Slot, Full> {
        let held = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Full)?;
        Ok(Slot { _held: held })
    }

    pub fn in_use(&self) -> usize {
        self.limit - self.slots.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_after_the_last_slot_is_refused_until_one_is_dropped() {
        let bulkhead = Bulkhead::new(2);
        let first = bulkhead.try_enter().unwrap();
        let _second = bulkhead.clone().try_enter().unwrap();
        assert_eq!(bulkhead.try_enter().err(), Some(Full));
        assert_eq!(bulkhead.in_use(), 2);
        drop(first);
        assert_eq!(bulkhead.in_use(), 1);
        assert!(bulkhead.try_enter().is_ok());
    }

    #[test]
    fn a_panicking_call_gives_its_slot_back() {
        let bulkhead = Bulkhead::new(1);
        let shared = bulkhead.clone();
        let call = std::thread::spawn(move || {
            let _slot = shared.try_enter().unwrap();
            panic!("synthetic");
        });
        assert!(call.join().is_err());
        assert_eq!(bulkhead.in_use(), 0);
    }

    #[test]
    fn limits_of_nothing_and_of_everything_are_possible() {
        assert!(Bulkhead::new(0).try_enter().is_err());
        assert!(Bulkhead::new(usize::MAX).try_enter().is_ok());
    }
}
