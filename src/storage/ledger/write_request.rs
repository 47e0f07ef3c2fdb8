//! What the writer is asked for.

use tokio::sync::oneshot;

use super::entry::Entry;
use super::{Flight, NotWritten};

pub(super) enum Asked {
    Write(WriteRequest),
    /// To say when the database has all that was ordered before, or cannot have it now.
    Move(oneshot::Sender<()>),
}

/// An entry to be written, and who waits for it. Dropped without an end, it leaves its flight open: the journal is all that
/// is left of it.
pub(super) struct WriteRequest {
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// The entry itself, if it is about idempotency keys.
    pub(super) about_keys: Option<Box<Entry>>,
    /// Open until the entry is on the disk.
    flight: Flight,
    done: Option<Done>,
    is_over: bool,
}

/// Who waits.
pub(super) type Done = oneshot::Sender<Result<(), NotWritten>>;

impl WriteRequest {
    /// Nothing if the entry has no text, which no entry of plain strings and numbers lacks.
    pub(super) fn new(entry: Entry, flight: Flight, done: Option<Done>) -> Option<Self> {
        let text = entry.text().inspect_err(|_| flight.leave_open()).ok()?;
        // The entry goes no further than it must: what is let go of in another thread costs more.
        let (kind, about_keys) = (entry.kind(), entry.is_about_keys().then(|| Box::new(entry)));
        Some(Self { kind, text, about_keys, flight, done, is_over: false })
    }

    pub(super) const fn is_waited_for(&self) -> bool {
        self.done.is_some()
    }

    /// It is written, or turned away.
    pub(super) fn end(mut self, result: Result<(), NotWritten>) {
        self.is_over = true;
        // Who has left does not want to know.
        let _ = self.done.take().map(|done| done.send(result));
    }
}

impl Drop for WriteRequest {
    fn drop(&mut self) {
        if !self.is_over {
            self.flight.leave_open();
        }
    }
}
