//! The public interface of the ledger: write, read, close. `opening` opens it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::borrowed::AnswerRef;
use super::cursor::Cursor;
use super::entry::{Answer, Begun, Call, Entry};
use super::error::{NotWritten, ReadError};
use super::files::Locks;
use super::metrics::Meter;
use super::postgres::{Link, keys};
use super::queries::Wanted;
use super::queue::{Flight, Queue};
use super::reader::AnyReader;
use super::shared::{Unavailable, by_kind};
use super::spool_lookup;
use crate::domain::subject::Digest;

/// How long a lookup waits until the database holds what the spool has.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// How long closing waits for readers.
const READERS_LEAVE: Duration = Duration::from_millis(500);

/// The ledger; without a file it keeps nothing. Clones share one ledger.
#[derive(Clone, Default)]
pub struct Ledger(pub(super) Option<Arc<Open>>);

/// How far the database is behind the spool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    /// Whether PostgreSQL answers, if that is the record.
    pub postgres: Option<bool>,
    pub entries: u64,
    /// For how long the oldest of them has waited.
    pub oldest: Duration,
    pub spool_bytes: u64,
}

pub(super) struct Open {
    pub(super) queue: Arc<Queue>,
    pub(super) reader: AnyReader,
    pub(super) spools: [PathBuf; 2],
    pub(super) spool_searches: Arc<Semaphore>,
    pub(super) closing: CancellationToken,
    pub(super) writing: TaskTracker,
    /// Held for as long as the ledger is open.
    pub(super) _locks: Locks,
}

impl Ledger {
    /// Registers the metrics. Without a ledger they keep their initial values.
    ///
    /// # Errors
    /// If `registry` has them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        match &self.0 {
            Some(open) => open.queue.shared.meter.register(registry),
            None => Meter::new()?.register(registry),
        }
    }

    /// Whether there is a ledger.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Why no paid call is made; `None` if they are made, or without a ledger.
    pub fn unavailable_reason(&self) -> Option<Unavailable> {
        self.0.as_ref()?.queue.shared.unavailable_reason()
    }

    /// How far the database is behind the spool; `None` without a ledger.
    pub fn backlog(&self) -> Option<Backlog> {
        let shared = &self.0.as_ref()?.queue.shared;
        Some(Backlog {
            postgres: shared.link.as_ref().map(Link::is_up),
            entries: shared.meter.waiting(),
            oldest: shared.meter.oldest(),
            spool_bytes: shared.room.used(),
        })
    }

    /// The people that any replica has forgotten after number `after`, and the number of the last one; without `after`,
    /// only where to begin. `None` if nothing is shared.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn forgotten(&self, after: Option<i64>) -> Result<Option<(i64, Vec<Digest>)>, ReadError> {
        match self.0.as_ref().and_then(|open| open.queue.shared.link.as_ref()) {
            Some(link) => keys::forgotten(link, after).await.map(Some),
            None => Ok(None),
        }
    }

    /// Starts a flight, which is announced with its first call. `begun` is called only if there is a ledger.
    ///
    /// # Errors
    /// If nothing can be written now. No paid call may be made then.
    pub fn begin(&self, begun: impl FnOnce(Uuid, i64) -> Begun) -> Result<Flight, NotWritten> {
        let Some(open) = &self.0 else { return Ok(Flight::NONE) };
        if !open.queue.shared.is_keeping() {
            return Err(NotWritten);
        }
        let begun = begun(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        Ok(Flight::new(Arc::clone(&open.queue), begun))
    }

    /// Writes an answer, which is given now, and returns once it and every entry before it are on the disk. The answer is
    /// written even if the future is dropped, or never polled.
    ///
    /// # Errors
    /// If it cannot be written anywhere, or not in time. The answer must not be sent then. (If the disk hangs, or fails
    /// and the process ends before the write is undone, the answer may be on the disk all the same.)
    pub fn write(
        &self,
        answer: AnswerRef<'_>,
        flight: Flight,
    ) -> impl Future<Output = Result<(), NotWritten>> + use<'_> {
        // What the answer borrows is not kept while its caller waits.
        let submitted = self.0.as_ref().map(|open| {
            let answer = AnswerRef { at_ms: open.queue.clock.now().as_millisecond(), ..answer };
            let finishing = open.queue.shared.link.as_ref().filter(|_| answer.finishes_a_claim());
            let finishing = finishing.map(|link| Box::new((link, answer.owned())));
            let (done, written) = oneshot::channel();
            open.queue.submit_answer(&answer, flight, Some(done));
            (open, written, finishing)
        });
        async move {
            let Some((open, written, finishing)) = submitted else { return Ok(()) };
            open.queue.on_disk_soon(written).await?;
            if let Some((link, answer)) = finishing.map(|finishing| *finishing) {
                // If it is away, the row follows with the entry.
                // Boxed, because its 45 KB would be copied and wiped with every answer.
                let finished = Box::pin(keys::finish(link, &answer)).await;
                let _ = finished.inspect_err(|error| error.tell("ledger: a key is finished later"));
            }
            Ok(())
        }
    }

    /// Queues an answer, which is given now, to be written, without waiting for it.
    pub fn note(&self, answer: AnswerRef<'_>, flight: Flight) {
        let Some(open) = &self.0 else { return };
        if open.queue.is_full() {
            // Counted, not logged: one line per answer would flood the log.
            flight.leave_open();
            return open.queue.shared.meter.lost("answer");
        }
        let at_ms = open.queue.clock.now().as_millisecond();
        open.queue.submit_answer(&AnswerRef { at_ms, ..answer }, flight, None);
    }

    /// The answer with this id; `None` without a ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        match &self.0 {
            Some(open) => open.answer(id).await,
            None => Ok(None),
        }
    }

    /// Returns once the database has every entry that was on the disk before, for somebody who reads it directly.
    ///
    /// # Errors
    /// If the database cannot take them now.
    pub async fn settled(&self) -> Result<(), ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await.map(drop),
            None => Ok(()),
        }
    }

    /// Has the entries written to the database that are on the disk, because another replica looks for one. Nobody waits
    /// for it.
    pub fn hurry(&self) {
        if let Some(open) = &self.0 {
            open.queue.hurry();
        }
    }

    /// The calls of a flight.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, ReadError> {
        match &self.0 {
            Some(open) => open.calls(flight).await,
            None => Ok(Vec::new()),
        }
    }

    /// At most `most` answers after `cursor`, newest first, and where to go on: the walk has a bound.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn page(
        &self,
        wanted: &Wanted,
        cursor: Option<Cursor>,
        most: usize,
    ) -> Result<(Vec<Answer>, Option<Cursor>), ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await?.page(wanted, cursor, most).await,
            None => Ok((Vec::new(), None)),
        }
    }

    /// The replicas whose latest entries pages may lack, with the time (milliseconds since 1970) up to which they have
    /// them all.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn behind(&self) -> Result<Vec<(String, i64)>, ReadError> {
        match &self.0 {
            Some(open) => open.reader.behind().await,
            None => Ok(Vec::new()),
        }
    }

    #[cfg(test)]
    pub(super) async fn answers(
        &self,
        wanted: &Wanted,
        below: i64,
        most: usize,
    ) -> Result<super::queries::Answers, ReadError> {
        let reader = self.reader().await?.expect("there is a file");
        Ok(reader.answers(wanted, below, most, super::queries::MOST_ROWS).await?)
    }

    #[cfg(test)]
    pub(super) async fn reader(&self) -> Result<Option<&super::queries::Reader>, ReadError> {
        let Some(open) = &self.0 else { return Ok(None) };
        match open.flushed().await? {
            AnyReader::Sqlite(reader) => Ok(Some(reader)),
            AnyReader::Postgres(_) => Ok(None),
        }
    }

    /// Writes the entries submitted so far and closes. Later entries are lost.
    pub async fn close(&self) {
        if let Some(open) = &self.0 {
            // Readers close first: SQLite merges its write-ahead log into the file when the last connection, the
            // writer's, closes. Long reads are not waited for.
            let _ = tokio::time::timeout(READERS_LEAVE, open.reader.close()).await;
            open.closing.cancel();
            open.writing.wait().await;
            // Until here, ended flights were only queued for the journal; without this the next start looks them up.
            let _ = open.queue.shared.journal.run(|journal| Ok(journal.tidy())).await;
        }
    }

    /// The entries that could be written nowhere, as a text such as `answer 2100, call 53`; `None` if there are none.
    pub fn lost(&self) -> Option<String> {
        let lost = self.0.as_ref()?.queue.shared.meter.all_lost();
        (!lost.is_empty()).then(|| by_kind(&lost))
    }
}

impl Open {
    /// The reader, once the database holds every entry that was on the disk before. (Entries that are on their way to
    /// the disk are waited for too, but nobody was told of them.)
    ///
    /// # Errors
    /// If the database cannot take them now: whatever it says would lack them.
    pub(super) async fn flushed(&self) -> Result<&AnyReader, ReadError> {
        let meter = &self.queue.shared.meter;
        let taken = meter.taken();
        // A disk may hang. What counts is whether the entries have moved, not why the wait is over.
        let flushing = tokio::time::timeout(FLUSH_TIME, self.queue.flush());
        match &self.queue.shared.link {
            None => _ = flushing.await,
            Some(link) => tokio::select! {
                biased;
                () = link.away() => return Err(ReadError::Away),
                _ = flushing => {}
                () = link.silence(true) => return Err(ReadError::Away),
            },
        }
        if meter.has_moved(taken) { Ok(&self.reader) } else { Err(ReadError::Behind) }
    }

    async fn answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        let meter = &self.queue.shared.meter;
        let taken = meter.taken();
        let found = self.recorded_answer(id).await?;
        // A remembered verdict is told while its entry is in memory. If the database could not take that at the first
        // look, the spool may have it by now.
        if found.is_none() && meter.taken() > taken { self.recorded_answer(id).await } else { Ok(found) }
    }

    async fn recorded_answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        for entry in self.spooled(id).await? {
            match entry {
                Entry::Answer(answer) if answer.id == id => return Ok(Some(answer)),
                _ => {}
            }
        }
        self.reader.answer(id).await
    }

    async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, ReadError> {
        let spooled = self.spooled(flight).await?;
        let mut calls = self.reader.calls(flight).await?;
        for entry in spooled {
            match entry {
                // It may have moved in between.
                Entry::Call(call) if call.flight == flight && calls.iter().all(|known| known.id != call.id) => {
                    calls.push(call);
                }
                _ => {}
            }
        }
        Ok(calls)
    }

    /// The entries with this id that only the spool has, if the database cannot take them now. Look here first.
    async fn spooled(&self, id: Uuid) -> Result<Vec<Entry>, ReadError> {
        match self.flushed().await {
            Ok(_) => Ok(Vec::new()),
            // It has the entries of this replica only.
            Err(error) if self.queue.shared.link.is_some() => Err(error),
            Err(_) => spool_lookup::entries_with(self.spools.clone(), id, &self.spool_searches).await,
        }
    }
}

// Only whether it is on: the contents include digests of people.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", if self.is_on() { "on" } else { "off" })
    }
}
