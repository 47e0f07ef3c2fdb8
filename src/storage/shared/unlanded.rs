//! Verdicts that could not be told while Redis was away. They are told once more when it is back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::told::{Lease, Told};
use crate::domain::subject::Digest;
use crate::storage::cache::Remembered;

/// How many are kept; the oldest make room.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Unlanded(Mutex<VecDeque<Waits>>);

/// A verdict that waits, and when its life ends.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) lease: Lease,
    pub(super) verdict: Remembered,
    pub(super) ends: Instant,
}

impl Unlanded {
    /// Keeps a verdict for as long as it lives. Of a failure nothing is kept: by then nobody waits for it.
    pub(super) fn keep(&self, lease: &Lease, told: &Told<'_>) {
        let Told::Verdict(verdict, life) = told else { return };
        let Some(ends) = Instant::now().checked_add(*life).filter(|_| !life.is_zero()) else { return };
        let mut all = self.lock();
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(Waits { lease: *lease, verdict: (*verdict).clone(), ends });
    }

    /// All that is kept; nothing is afterwards.
    pub(super) fn take(&self) -> VecDeque<Waits> {
        std::mem::take(&mut *self.lock())
    }

    /// Drops what is kept about a person.
    pub(super) fn forget(&self, person: &Digest) {
        self.lock().retain(|waits| waits.lease.place.person != *person);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waits>> {
        // Every change is a single one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
