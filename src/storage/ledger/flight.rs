//! A flight and its calls as the ledger knows them: announced in the journal before they are made, and written down whatever
//! becomes of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::entry::{Begun, BegunCall, End, Entry};
use super::{NotWritten, Open};

/// One flight as the ledger knows it: announced with its first call, open until its last entry is on the disk.
#[derive(Clone, Default)]
pub struct Flight(Option<Arc<InFlight>>);

struct InFlight {
    ledger: Arc<Open>,
    begun: Begun,
    /// Something of it is on no disk but in the journal.
    unsettled: AtomicBool,
}

/// A call that was announced. Dropped without an end, it is written down as interrupted.
pub struct Calling(Option<(Arc<InFlight>, BegunCall)>);

impl Flight {
    /// None that a ledger knows of.
    pub const NONE: Self = Self(None);

    pub(super) fn new(ledger: Arc<Open>, begun: Begun) -> Self {
        Self(Some(Arc::new(InFlight { ledger, begun, unsettled: AtomicBool::new(false) })))
    }

    /// Its id, if there is a ledger.
    pub fn id(&self) -> Option<Uuid> {
        self.0.as_ref().map(|flight| flight.begun.flight)
    }

    /// Announces a call that costs at most `price_micro_yuan`.
    ///
    /// # Errors
    /// When that cannot be written down: then it must not be made.
    pub fn call(&self, provider: &str, endpoint: &str, price_micro_yuan: u64) -> Result<Calling, NotWritten> {
        let Some(flight) = &self.0 else { return Ok(Calling(None)) };
        let open = &flight.ledger;
        if !open.shared.is_keeping() {
            return Err(NotWritten);
        }
        let call = BegunCall {
            id: open.ids.ordered(),
            flight: flight.begun.flight,
            at_ms: open.clock.now().as_millisecond(),
            provider: provider.to_owned(),
            endpoint: endpoint.to_owned(),
            price_micro_yuan,
        };
        let announced = open.shared.journal().begin(&flight.begun, &call);
        if let Err(error) = announced {
            open.shared.cannot_announce(&error);
            return Err(NotWritten);
        }
        Ok(Calling(Some((Arc::clone(flight), call))))
    }

    /// The journal keeps it, since it is nowhere else.
    pub(super) fn leave_open(&self) {
        if let Some(flight) = &self.0 {
            flight.unsettled.store(true, Ordering::Relaxed);
        }
    }
}

impl Calling {
    /// Writes down what came of it.
    pub fn ended(mut self, end: impl FnOnce() -> End) {
        if let Some((flight, call)) = self.0.take() {
            write_call(flight, &call, end());
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some((flight, call)) = self.0.take() {
            write_call(flight, &call, call.interrupted());
        }
    }
}

fn write_call(flight: Arc<InFlight>, call: &BegunCall, end: End) {
    let entry = flight.begun.call(call, flight.ledger.clock.now().as_millisecond(), end);
    let ledger = Arc::clone(&flight.ledger);
    ledger.order(Entry::Call(entry), Flight(Some(flight)), None);
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.unsettled.load(Ordering::Relaxed) {
            self.ledger.shared.journal().end(self.begun.flight);
        }
    }
}

// Which, and no more: what it holds knows digests of people.
impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flight({:?})", self.id())
    }
}
