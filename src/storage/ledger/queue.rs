//! Entries on their way to the writer, and the flights they belong to.
//!
//! A flight is one run of the provider chain. It is announced in the journal with its first call, before that call is
//! made, and stays open there until its last entry is on the disk. A write request therefore holds its flight, which is
//! why both are defined in this file.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::announcer::Announcer;
use super::borrowed::{AnswerRef, CallRef};
use super::entry::{Begun, BegunCall, End, Entry};
use super::error::NotWritten;
use super::inbox::{Closed, Inbox};
use super::journal::Announced;
use super::record;
use super::shared::Shared;
use crate::domain::clock::{Clock, Ids};

/// The longest that a caller waits for its answer to reach the disk.
pub(super) const WITHIN: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });

/// Large enough for the record of nearly every entry, so that its buffer does not grow.
const RECORD: usize = 1536;

/// The length from which what no caller waits for is dropped and counted as lost.
const MOST_WAITING: usize = 100_000;

pub(super) struct Queue {
    pub(super) inbox: Arc<Inbox<WriteRequest>>,
    pub(super) announcer: Announcer<(Arc<InFlight>, BegunCall)>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
}

/// One flight as the ledger knows it: announced with its first call, open until its last entry is on the disk.
#[derive(Clone, Default)]
pub struct Flight(Option<Arc<InFlight>>, Option<Uuid>);

pub(super) struct InFlight {
    queue: Arc<Queue>,
    begun: Begun,
    /// Whether one of its calls has been announced, so that the journal has it.
    is_announced: AtomicBool,
    /// Set once one of its entries is stored nowhere but in the journal.
    unsettled: AtomicBool,
}

/// A call that was announced. If it is dropped before [`Calling::ended`], it is recorded as interrupted.
pub struct Calling(Option<(Arc<InFlight>, BegunCall)>);

/// An entry to write, and the caller that waits for it. If it is dropped before [`WriteRequest::end`], its flight stays
/// open in the journal, because the entry is stored nowhere else.
pub(super) struct WriteRequest {
    pub(super) kind: &'static str,
    /// The entry itself, if it is about idempotency keys.
    pub(super) about_keys: Option<Box<Entry>>,
    /// Open until the entry is on the disk.
    flight: Flight,
    done: Option<Done>,
    is_over: bool,
}

/// Reports the result to the waiting caller.
pub(super) type Done = oneshot::Sender<Result<(), NotWritten>>;
/// Waits for the result.
pub(super) type Written = oneshot::Receiver<Result<(), NotWritten>>;

impl Queue {
    pub(super) async fn write(&self, entry: Entry, flight: Flight) -> Result<(), NotWritten> {
        let (done, written) = oneshot::channel();
        self.submit(entry, flight, Some(done));
        self.on_disk(written).await
    }

    /// Waits until the entry is on the disk.
    async fn on_disk(&self, written: Written) -> Result<(), NotWritten> {
        written.await.unwrap_or(Err(NotWritten))?;
        // It is in a file that the next start will not find.
        if self.shared.in_place.load(Ordering::Relaxed) { Ok(()) } else { Err(NotWritten) }
    }

    /// Like [`Self::on_disk`], but waits at most [`WITHIN`]. After that the entry may be written all the same.
    pub(super) async fn on_disk_soon(&self, written: Written) -> Result<(), NotWritten> {
        tokio::time::timeout(WITHIN, self.on_disk(written)).await.unwrap_or_else(|_| {
            self.shared.append_timed_out();
            Err(NotWritten)
        })
    }

    /// Submits an entry that is neither a call nor an answer.
    pub(super) fn submit(&self, entry: Entry, flight: Flight, done: Option<Done>) {
        let kind = entry.kind();
        let mut record = Vec::with_capacity(RECORD);
        // Plain strings and numbers always serialize.
        if record::write(&entry, &mut record).is_err() {
            flight.leave_open();
            return self.shared.lost(std::iter::once(kind));
        }
        let about_keys = matches!(entry, Entry::Claim(_) | Entry::Forgotten(_)).then(|| Box::new(entry));
        self.hand_over(&record, WriteRequest { kind, about_keys, flight, done, is_over: false });
    }

    pub(super) fn submit_answer(&self, answer: &AnswerRef<'_>, flight: Flight, done: Option<Done>) {
        let mut record = Vec::with_capacity(RECORD);
        record::write_answer(answer, &mut record);
        let about_keys = answer.finishes_a_claim().then(|| Box::new(Entry::Answer(answer.owned())));
        self.hand_over(&record, WriteRequest { kind: "answer", about_keys, flight, done, is_over: false });
    }

    fn hand_over(&self, record: &[u8], request: WriteRequest) {
        let (kind, is_waited_for, is_in_journal) = (request.kind, request.done.is_some(), request.flight.0.is_some());
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(Closed) = self.inbox.submit(record, request, is_waited_for) {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            // The ledger is closed. The journal still has the flight, from which the next start makes the entries.
            match is_in_journal {
                true => tracing::warn!("ledger: a call was cut; the next start records it as interrupted"),
                false => self.shared.lost(std::iter::once(kind)),
            }
        }
    }

    /// Whether it takes nothing more that no caller waits for.
    pub(super) fn is_full(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) >= MOST_WAITING
    }

    /// Begins what [`Self::flush`] waits for.
    pub(super) fn hurry(&self) {
        if self.shared.waiting.load(Ordering::Acquire) > 0 || !self.shared.meter.is_level() {
            // Nobody waits for it; after the end everything is flushed.
            let (flushed, _) = oneshot::channel();
            let _ = self.inbox.flush(flushed);
        }
    }

    /// Returns once the database holds every entry submitted so far, or cannot take them now.
    pub(super) async fn flush(&self) {
        if self.shared.waiting.load(Ordering::Acquire) > 0 || !self.shared.meter.is_level() {
            let (flushed, is_flushed) = oneshot::channel();
            if self.inbox.flush(flushed).is_ok() {
                // An error means that the writer has ended. It has flushed everything then, unless it died.
                let _ = is_flushed.await;
            }
        }
    }
}

impl Flight {
    /// No flight: for entries that belong to none, and if there is no ledger.
    pub const NONE: Self = Self(None, None);

    /// One that another process has made.
    pub const fn elsewhere(id: Uuid) -> Self {
        Self(None, Some(id))
    }

    pub(super) fn new(queue: Arc<Queue>, begun: Begun) -> Self {
        let flight = InFlight { queue, begun, is_announced: AtomicBool::default(), unsettled: AtomicBool::default() };
        Self(Some(Arc::new(flight)), None)
    }

    /// Its id, if there is a ledger.
    pub fn id(&self) -> Option<Uuid> {
        self.0.as_ref().map(|flight| flight.begun.flight).or(self.1)
    }

    /// Announces a call that costs at most `price_micro_yuan`.
    ///
    /// # Errors
    /// When the announcement cannot be written in time; the call must not be made then.
    pub async fn call(&self, provider: &str, endpoint: &str, price_micro_yuan: u64) -> Result<Calling, NotWritten> {
        let Some(flight) = &self.0 else { return Ok(Calling(None)) };
        let announced = flight.announce(provider, endpoint, price_micro_yuan)?.await;
        let announced = announced.map_err(|_| NotWritten)?;
        flight.is_announced.store(true, Ordering::Relaxed);
        Ok(Calling(Some(announced)))
    }

    /// Keeps the flight in the journal, because one of its entries is stored nowhere else.
    pub(super) fn leave_open(&self) {
        if let Some(flight) = &self.0 {
            flight.unsettled.store(true, Ordering::Relaxed);
        }
    }
}

impl InFlight {
    fn announce(
        self: &Arc<Self>,
        provider: &str,
        endpoint: &str,
        price_micro_yuan: u64,
    ) -> Result<oneshot::Receiver<(Arc<Self>, BegunCall)>, NotWritten> {
        let Queue { announcer, shared, clock, ids, .. } = &*self.queue;
        if !shared.is_keeping() {
            return Err(NotWritten);
        }
        let call = BegunCall {
            id: ids.ordered(),
            flight: self.begun.flight,
            at_ms: clock.now().as_millisecond(),
            provider: provider.to_owned(),
            endpoint: endpoint.to_owned(),
            price_micro_yuan,
        };
        let is_first = !self.is_announced.load(Ordering::Relaxed);
        let announced = Announced::new(is_first.then_some(&self.begun), &call);
        Ok(announcer.announce(announced, (Arc::clone(self), call)))
    }
}

impl Calling {
    /// Records the result of the call.
    pub fn ended(mut self, end: impl FnOnce() -> End) {
        if let Some((flight, call)) = self.0.take() {
            write_call(flight, &call, &end());
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some((flight, call)) = self.0.take() {
            write_call(flight, &call, &call.interrupted());
        }
    }
}

fn write_call(flight: Arc<InFlight>, call: &BegunCall, end: &End) {
    let queue = Arc::clone(&flight.queue);
    let mut record = Vec::with_capacity(RECORD);
    let at_ms = queue.clock.now().as_millisecond();
    record::write_call(&CallRef::ended(&flight.begun, call, at_ms, end), &mut record);
    let flight = Flight(Some(flight), None);
    queue.hand_over(&record, WriteRequest { kind: "call", about_keys: None, flight, done: None, is_over: false });
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.unsettled.load(Ordering::Relaxed) {
            let flight = self.begun.flight;
            self.queue.shared.journal.end(flight);
        }
    }
}

// Only the id: the other fields contain digests of people.
impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flight({:?})", self.id())
    }
}

impl WriteRequest {
    pub(super) const fn is_waited_for(&self) -> bool {
        self.done.is_some()
    }

    /// Reports that the entry was written or refused.
    pub(super) fn end(mut self, result: Result<(), NotWritten>) {
        self.is_over = true;
        let done = self.done.take();
        // Its flight ends before its caller goes on.
        drop(self);
        // A caller that has left needs no answer.
        let _ = done.map(|done| done.send(result));
    }
}

impl Drop for WriteRequest {
    fn drop(&mut self) {
        if !self.is_over {
            self.flight.leave_open();
        }
    }
}
