//! How many connections are open, and how many were turned away or cut.
//!
//! Invariant: `open` counts living [`Slot`]s, which give themselves back when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::tls::Failure;

/// The counters of one listener; clones show the same ones.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicUsize,
    refused: AtomicU64,
    timed_out: AtomicU64,
    /// By the place of each reason in [`Failure::ALL`].
    handshakes_failed: [AtomicU64; Failure::ALL.len()],
}

impl Connections {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    /// Connections turned away because too many were open.
    pub fn refused_total(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Connections cut because a request head did not come in time, idle ones among them.
    pub fn timed_out_total(&self) -> u64 {
        self.0.timed_out.load(Relaxed)
    }

    /// Handshakes that came to nothing, by reason.
    pub fn handshakes_failed_total(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.iter().copied().zip(self.0.handshakes_failed.iter().map(|total| total.load(Relaxed)))
    }

    /// A place for one more connection, unless `max` are taken. Only the accept loop calls this, so that looking and
    /// taking need not be one step.
    pub(super) fn admit(&self, max: usize) -> Option<Slot> {
        if self.open() >= max {
            self.0.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.0.open.fetch_add(1, Relaxed);
        Some(Slot(self.0.clone()))
    }
}

/// One open connection's place.
#[derive(Debug)]
pub(super) struct Slot(Arc<Counters>);

impl Slot {
    /// Notes that this connection was cut for being late.
    pub(super) fn timed_out(&self) {
        self.0.timed_out.fetch_add(1, Relaxed);
    }

    /// Notes that the handshake of this connection came to nothing.
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
