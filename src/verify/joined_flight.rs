//! The flight that a question belongs to, shared with the question's ledger entry, so that an entry written because the
//! caller left still names the flight that was paid for.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::storage::ledger::Flight;

/// A flight's handle in the ledger, once the ledger has recorded its start.
#[derive(Debug, Clone, Default)]
pub(super) struct AnnouncedFlight(Arc<OnceLock<Flight>>);

/// The flight that a question led or joined last; empty before that, and without a ledger.
#[derive(Debug, Clone, Default)]
pub struct JoinedFlight(Option<Arc<Mutex<AnnouncedFlight>>>);

impl AnnouncedFlight {
    pub(super) fn set(&self, flight: Flight) {
        // A flight is announced once.
        let _ = self.0.set(flight);
    }

    pub(super) fn get(&self) -> Flight {
        self.0.get().cloned().unwrap_or(Flight::NONE)
    }
}

impl JoinedFlight {
    /// For a question that owes a ledger entry.
    pub fn recorded() -> Self {
        Self(Some(Arc::default()))
    }

    pub(super) fn set(&self, flight: &AnnouncedFlight) {
        if let Some(joined) = &self.0 {
            *joined.lock().unwrap_or_else(PoisonError::into_inner) = flight.clone();
        }
    }

    /// The flight, or [`Flight::NONE`].
    pub fn flight(&self) -> Flight {
        let Some(joined) = &self.0 else { return Flight::NONE };
        joined.lock().unwrap_or_else(PoisonError::into_inner).get()
    }
}
