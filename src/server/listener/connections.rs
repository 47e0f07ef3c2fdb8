//! Counts connections (open, refused, cut) and failed handshakes.
//!
//! Invariant: `open` is the number of live [`Slot`]s; dropping one decrements it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::tls::Failure;

/// The counters of one listener, shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicUsize,
    refused: AtomicU64,
    timed_out: AtomicU64,
    /// In the order of [`Failure::ALL`].
    handshakes_failed: [AtomicU64; Failure::ALL.len()],
}

impl Connections {
    pub fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    /// Connections refused because too many were open.
    pub fn refused_total(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Connections cut because a request head was late, they were idle, or the client did not read its answer.
    pub fn timed_out_total(&self) -> u64 {
        self.0.timed_out.load(Relaxed)
    }

    /// Failed handshakes, by reason.
    pub fn handshakes_failed_total(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.iter().copied().zip(self.0.handshakes_failed.iter().map(|total| total.load(Relaxed)))
    }

    /// A slot for one more connection, unless `max` are open. Only the accept loop calls this, so the check and the
    /// increment need not be one atomic step.
    pub(super) fn admit(&self, max: usize) -> Option<Slot> {
        if self.open() >= max {
            self.0.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.0.open.fetch_add(1, Relaxed);
        Some(Slot(self.0.clone()))
    }
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Counters>);

impl Slot {
    /// Counts this connection as cut by a timeout.
    pub(super) fn timed_out(&self) {
        self.0.timed_out.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_failed(&self, why: Failure) {
        let counted = Failure::ALL.iter().zip(&self.0.handshakes_failed).find(|(reason, _)| **reason == why);
        if let Some((_, total)) = counted {
            total.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_gives_itself_back_when_dropped() {
        let connections = Connections::default();
        let slot = connections.admit(1).unwrap();
        assert!(connections.admit(1).is_none());
        drop(slot);
        assert!(connections.admit(1).is_some());
        assert_eq!((connections.open(), connections.refused_total()), (0, 1));
    }
}
