//! State shared by the writer and the code that submits entries to it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::claims::Spooled;
use super::journal::Journal;
use super::metrics::Meter;

#[derive(Debug)]
pub(super) struct Shared {
    /// Whether an entry submitted now would be kept.
    pub(super) keeping: AtomicBool,
    /// The number of submitted entries that are not on the disk yet.
    pub(super) waiting: AtomicUsize,
    pub(super) journal: Mutex<Journal>,
    /// Entries about idempotency keys that are only in the spool.
    pub(super) spooled: Spooled,
    pub(super) meter: Meter,
    #[cfg(test)]
    pub(super) spool_is_broken: AtomicBool,
}

impl Shared {
    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.load(Ordering::Relaxed)
    }

    pub(super) fn keeps(&self, keeps: bool) {
        self.keeping.store(keeps, Ordering::Relaxed);
        self.meter.available(keeps);
    }

    pub(super) fn lost(&self, entries: usize) {
        self.meter.lost(entries);
        tracing::error!(entries, "ledger: entries are lost");
    }

    pub(super) fn cannot_announce(&self, error: &io::Error) {
        if self.is_keeping() {
            tracing::error!(%error, "ledger: the journal cannot be written; paid calls are refused");
            self.keeps(false);
        }
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        // A panic while the lock is held leaves at most one surplus line.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
