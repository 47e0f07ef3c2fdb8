//! The public interface of the ledger: open, write, read, close.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::answer_ref::AnswerRef;
use super::chain_hash::Seal;
use super::claims::{self, Claimed, Spooled};
use super::config::Config;
use super::database::Store;
use super::entry::{Answer, Begun, Call, Claim, Entry, Forgotten, Subject};
use super::error::{NotWritten, OpenError, ReadError};
use super::files::{Identity, Locks, beside, lock, spools};
use super::flusher::Flusher;
use super::inbox::Inbox;
use super::journal::{Journal, Left};
use super::journal_thread::JournalThread;
use super::metrics::Meter;
use super::queries::{Answers, MOST_ROWS, Reader, Wanted};
use super::queue::{Flight, Queue};
use super::repair::{RepairError, repair};
use super::shared::{Shared, Unavailable, by_kind};
use super::spent::{self, Counted, Spent};
use super::spool::{self, Spool};
use super::spool_lookup;
use super::start_check::{self, Covered};
use super::wal::Wal;
use super::watch::{Places, watch};
use super::writer::Writer;
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::Digest;

/// How long a lookup waits until the database holds what the spool has.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// How long closing waits for readers.
const READERS_LEAVE: Duration = Duration::from_millis(500);

/// The ledger; without a file it keeps nothing. Clones share one ledger.
#[derive(Clone, Default)]
pub struct Ledger(pub(super) Option<Arc<Open>>);

pub(super) struct Open {
    pub(super) queue: Arc<Queue>,
    pub(super) reader: Reader,
    spools: [PathBuf; 2],
    spool_searches: Arc<Semaphore>,
    closing: CancellationToken,
    writing: TaskTracker,
    /// Held for as long as the ledger is open.
    _locks: Locks,
}

/// The files of a ledger, opened and locked, and what an earlier process left unfinished.
struct Files {
    locks: Locks,
    spools: [Spool; 2],
    journal: Journal,
    left: Vec<Left>,
    wal: Arc<Wal>,
}

impl Files {
    /// `None` without `ledger.file`. Blocks the thread.
    fn open(config: &Config) -> Result<Option<Self>, OpenError> {
        let Some(path) = &config.file else { return Ok(None) };
        let locks = lock(path)?;
        let folder = config.spool_folder.as_deref();
        let spools = spool::open_both(spools(path, folder)).map_err(|(path, error)| match error.kind() {
            io::ErrorKind::InvalidData => OpenError::Spool(path),
            io::ErrorKind::WouldBlock => OpenError::SpoolInUse(path),
            _ => OpenError::beside(&path, error),
        })?;
        let begun = beside(path, folder, "begun");
        let (journal, left) = Journal::open(begun.clone()).map_err(|error| OpenError::beside(&begun, error))?;
        Ok(Some(Self { locks, spools, journal, left, wal: Arc::new(Wal::beside(path)) }))
    }
}

impl Ledger {
    /// Opens the ledger of `config`: completes what an earlier process left unfinished, then accepts entries. Without a
    /// file it keeps nothing.
    ///
    /// # Errors
    /// If its files cannot be used; the error says what to do.
    pub async fn open(config: &Config, clock: Clock, ids: Ids) -> Result<Self, OpenError> {
        let Some(path) = &config.file else { return Ok(Self::default()) };
        let files = config.clone();
        // A disk may hang; a stop signal must end the start all the same.
        let opened = tokio::task::spawn_blocking(move || Files::open(&files)).await;
        let Some(files) = opened.map_err(|_| OpenError::beside(path, io::Error::other("it cannot be opened")))?? else {
            return Ok(Self::default());
        };
        let Files { locks, mut spools, mut journal, left, wal } = files;
        let covered = start_check::check(path, start_check::WITHIN).await?;
        let mut store = Store::open(path, Arc::clone(&wal)).await?;
        repair(&mut store, &mut spools, &left, &clock).await.map_err(|error| match error {
            RepairError::Database(error) => OpenError::database(path, error),
            RepairError::Spool(path) => OpenError::Spool(path),
        })?;
        let begun = journal.path().to_owned();
        journal.clear().map_err(|error| OpenError::beside(&begun, error))?;
        let reader = Reader::open(path).await.map_err(|error| OpenError::Read(path.to_owned(), error))?;
        let meter = Meter::new().map_err(OpenError::Metrics)?;
        let (number, seal) = store.last().unwrap_or((0, Seal::NONE));
        tracing::info!(file = %path.display(), number, seal = seal.to_hex(), "ledger: open");
        if let Some(Covered { from, all_seals, pages, indexes }) = covered.filter(|covered| !covered.is_all()) {
            tracing::info!(
                seals_from = from,
                all_seals,
                pages,
                indexes,
                "ledger: too large to be checked wholly at a start; the seals from this number on are sound. `idgate ledger \
                 verify` checks all of it"
            );
        }
        let shared = Arc::new(Shared {
            is_flush_hurried: Arc::default(),
            can_announce: AtomicBool::new(true),
            is_probing: AtomicBool::new(false),
            can_write: AtomicBool::new(true),
            in_place: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            journal: JournalThread::start(journal).map_err(|error| OpenError::beside(&begun, error))?,
            spooled: Spooled::default(),
            meter,
            #[cfg(test)]
            spool_is_broken: AtomicBool::new(false),
        });
        let (inbox, receiver) = Inbox::new();
        let (closing, writing) = (CancellationToken::new(), TaskTracker::new());
        let spool_paths = spools.each_ref().map(|spool| spool.path().to_owned());
        let failed = |error| OpenError::beside(path, error);
        let [one, two] =
            spools.each_ref().map(|spool| Ok((spool.path().to_owned(), Identity::of(&spool.file().metadata()?))));
        let places = Places {
            database: (path.to_owned(), locks.database),
            wal,
            spools: [one.map_err(failed)?, two.map_err(failed)?],
        };
        writing.spawn(watch(places, Arc::downgrade(&shared), closing.clone()));
        let keep = config.keep().unwrap_or(Duration::MAX);
        let flusher = Flusher::new(store, Arc::clone(&shared), keep, clock.clone());
        let writer = Writer::new(receiver, Arc::clone(&shared), writing.clone(), flusher, spools);
        writing.spawn(writer.run(closing.clone()));
        writing.close();
        let queue = Arc::new(Queue { inbox, shared, clock, ids });
        let spool_searches = Arc::new(Semaphore::new(spool_lookup::MOST_SEARCHES));
        let spools = spool_paths;
        Ok(Self(Some(Arc::new(Open { queue, reader, spools, spool_searches, closing, writing, _locks: locks }))))
    }

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

    /// Writes an answer and returns once it and every entry before it are on the disk. The answer is written even if
    /// this future is dropped.
    ///
    /// # Errors
    /// If it cannot be written anywhere, or not in time. The answer must not be sent then. (If the disk hangs, or fails
    /// and the process ends before the write is undone, the answer may be on the disk all the same.)
    pub async fn write(&self, answer: impl FnOnce(i64) -> Answer, flight: Flight) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else { return Ok(()) };
        open.queue.write_soon(Entry::Answer(answer(open.queue.clock.now().as_millisecond())), flight).await
    }

    /// Queues an answer to be written, without waiting for it.
    pub fn note(&self, answer: impl FnOnce(i64) -> Answer, flight: Flight) {
        if let Some((open, at_ms)) = self.takes_note(&flight) {
            open.queue.submit(Entry::Answer(answer(at_ms)), flight, None);
        }
    }

    /// Queues an answer that has no claim on a key like [`Self::note`]. Its time is now.
    pub fn note_borrowed(&self, answer: AnswerRef<'_>, flight: Flight) {
        if let Some((open, at_ms)) = self.takes_note(&flight) {
            open.queue.submit_answer(&AnswerRef { at_ms, ..answer }, flight);
        }
    }

    /// The open ledger and the time, if there is a ledger that takes more.
    fn takes_note(&self, flight: &Flight) -> Option<(&Open, i64)> {
        let open = self.0.as_ref()?;
        if open.queue.is_full() {
            // Counted, not logged: one line per answer would flood the log.
            flight.leave_open();
            open.queue.shared.meter.lost("answer");
            return None;
        }
        Some((open, open.queue.clock.now().as_millisecond()))
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

    /// At most `most` answers with numbers below `below`, newest first, and where to go on: the walk has a bound.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn answers(&self, wanted: &Wanted, below: i64, most: usize) -> Result<Answers, ReadError> {
        match &self.0 {
            Some(open) => Ok(open.flushed().await?.answers(wanted, below, most, MOST_ROWS).await?),
            None => Ok(Answers { found: Vec::new(), below: None }),
        }
    }

    pub(super) async fn reader(&self) -> Result<Option<&Reader>, ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await.map(Some),
            None => Ok(None),
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

    /// The claim on `key`, if it was made at `not_before_ms` (milliseconds since 1970) or later and its person has not
    /// been forgotten since. `None` without a ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn claimed(&self, key: &Digest, not_before_ms: i64) -> Result<Option<Claimed>, ReadError> {
        match &self.0 {
            Some(open) => Ok(claims::claimed(&open.reader, &open.queue.shared.spooled, key, not_before_ms).await?),
            None => Ok(None),
        }
    }

    /// Claims a key and returns once the claim is on the disk; `None` without a ledger.
    ///
    /// # Errors
    /// If it cannot be written anywhere. The key is not claimed then.
    pub async fn claim(&self, claim: impl FnOnce(Uuid, i64) -> Claim) -> Result<Option<Claim>, NotWritten> {
        let Some(open) = &self.0 else { return Ok(None) };
        let claim = claim(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        open.queue.write(Entry::Claim(claim.clone()), Flight::NONE).await?;
        Ok(Some(claim))
    }

    /// How many keys were claimed for this person at `not_before_ms` (milliseconds since 1970) or later and since the
    /// person was last forgotten.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn claims_about(&self, subject: &Subject, not_before_ms: i64) -> Result<usize, ReadError> {
        match &self.0 {
            Some(open) => Ok(claims::claims_about(open.flushed().await?, subject, not_before_ms).await?),
            None => Ok(0),
        }
    }

    /// Ends all claims about a person and returns once that is on the disk.
    ///
    /// # Errors
    /// If it cannot be written anywhere. The claims still hold then.
    pub async fn forget(&self, forgotten: impl FnOnce(Uuid, i64) -> Forgotten) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else { return Ok(()) };
        let forgotten = forgotten(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        open.queue.write(Entry::Forgotten(forgotten), Flight::NONE).await
    }

    /// Spending since `month_ms`, and the part of it since `day_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn spent(&self, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, ReadError> {
        match self.reader().await? {
            Some(reader) => Ok(spent::spent(reader, month_ms, day_ms).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Passes to `each` the calls of this period (milliseconds since 1970) that were billed, or refused for `reason`,
    /// in the order in which they ended.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn counted(
        &self,
        (from_ms, until_ms): (i64, i64),
        reason: &str,
        each: impl FnMut(Counted<'_>),
    ) -> Result<(), ReadError> {
        match self.reader().await? {
            Some(reader) => Ok(spent::counted(reader, (from_ms, until_ms), reason, each).await?),
            None => Ok(()),
        }
    }
}

impl Open {
    /// The reader, once the database holds every entry that was on the disk before. (Entries that are on their way to
    /// the disk are waited for too, but nobody was told of them.)
    ///
    /// # Errors
    /// If the database cannot take them now: whatever it says would lack them.
    pub(super) async fn flushed(&self) -> Result<&Reader, ReadError> {
        let meter = &self.queue.shared.meter;
        let taken = meter.taken();
        // A disk may hang. What counts is whether the entries have moved, not why the wait is over.
        let _ = tokio::time::timeout(FLUSH_TIME, self.queue.flush()).await;
        if meter.has_moved(taken) { Ok(&self.reader) } else { Err(ReadError::Behind) }
    }

    async fn answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        for entry in self.spooled(id).await? {
            match entry {
                Entry::Answer(answer) if answer.id == id => return Ok(Some(answer)),
                _ => {}
            }
        }
        Ok(self.reader.answer(id).await?)
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
