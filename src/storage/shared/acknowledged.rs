//! Which replicas have acknowledged what this one asked of all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The replica that asks to be told, and a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledge(pub(super) [u8; 16]);

/// The acknowledgements that this replica is waiting for.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    waiting: Mutex<HashMap<[u8; 16], BTreeSet<[u8; 8]>>>,
    pub(super) heard: Notify,
}

impl Acknowledged {
    /// Notes that the replica with this incarnation has forgotten.
    pub(super) fn note(&self, what: [u8; 16], by: [u8; 8]) {
        if let Some(known) = self.lock().get_mut(&what) {
            known.insert(by);
            self.heard.notify_waiters();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], BTreeSet<[u8; 8]>>> {
        // Every change is a single one.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
