//! The durable record of every answer and every paid call: what was asked by whom, what came of it, what it cost.
//!
//! Invariants: entries are appended in order, each sealed by the hash of all before it, and never changed; a person is
//! there as a keyed digest only; [`Ledger::write`] returns when the entry is on the disk. A call is announced in the
//! journal before it is made, so that one whose end nobody saw is known after a restart. The trip of an entry: `writer`
//! takes it, `spool` has it on the disk, `mover` brings it into the database, `sqlite` keeps it there, `read` finds it,
//! `claims` what is about idempotency keys.
//!
//! To add a back end: one arm beside `sqlite` and `read`, with the same statements and a schema of its own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use prometheus::Registry;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::claims::Spooled;
use self::database::Store;
use self::flusher::Flusher;
use self::journal::Journal;
use self::metrics::Meter;
use self::repair::{RepairError, repair};
use self::write_request::{Asked, Done, WriteRequest};
use self::writer::Writer;
use crate::domain::clock::{Clock, Ids};

mod chain_hash;
mod claims;
mod database;
mod entry;
mod error;
mod flight;
mod flusher;
mod journal;
mod metrics;
mod queries;
mod repair;
mod spent;
mod spool;
#[cfg(test)]
mod tests;
mod write_request;
mod writer;

pub use claims::Claimed;
pub use entry::{Answer, Attempt, Begun, BegunCall, Call, Claim, End, Entry, Forgotten, Subject};
pub use error::{OpenError, remedy};
pub use flight::{Calling, Flight};
pub use queries::{Broken, Checked, Found, Reader, Wanted};
pub use spent::{Counted, Spent};

/// So many answers may wait to be written for which nobody waits; the next ones are lost, and counted.
const MOST_WAITING: usize = 100_000;

/// So long the end waits for who reads.
const READERS_LEAVE: Duration = Duration::from_millis(500);

/// A running idgate has emptied its spool in this time.
const SEEN_TO: Duration = Duration::from_secs(2);

/// The shortest time for which entries are kept.
const SHORTEST_KEEP: Duration = Duration::from_hours(24);

/// Section `[ledger]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; without one nothing is written down.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The folder of the spool and the journal; the database's own if not set.
    #[serde(default)]
    pub spool_folder: Option<PathBuf>,
    /// How long entries are kept.
    keep: Span,
}

/// It could not be written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written")]
pub struct NotWritten;

/// Where answers and calls are written down. Clones share it.
#[derive(Clone, Default)]
pub struct Ledger(Option<Arc<Open>>);

struct Open {
    asked: mpsc::UnboundedSender<Asked>,
    shared: Arc<Shared>,
    reader: Reader,
    clock: Clock,
    ids: Ids,
    closing: CancellationToken,
    writing: TaskTracker,
    /// Ours alone as long as it is open.
    _lock: std::fs::File,
}

/// What the writer and those who write share.
#[derive(Debug)]
struct Shared {
    /// Whether what happens now would be kept.
    keeping: AtomicBool,
    /// Entries on their way to the disk.
    waiting: AtomicUsize,
    journal: Mutex<Journal>,
    /// Keys that only the spool knows of.
    spooled: Spooled,
    meter: Meter,
    #[cfg(test)]
    spool_is_broken: AtomicBool,
}

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_long_enough = self.keep().is_some_and(|keep| keep >= SHORTEST_KEEP);
        let mistake = || ("keep", "is no time of a day or more; write \"400 days\" or \"26 weeks\"".to_owned());
        (!is_long_enough).then(mistake).into_iter().collect()
    }

    /// How long entries are kept; nothing if a unit has no fixed length, such as months.
    pub fn keep(&self) -> Option<Duration> {
        self.keep.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
    }
}

impl Ledger {
    /// Opens the ledger of `config`: finishes what an earlier process has left half written, then begins to write. Without
    /// a file it is one that keeps nothing.
    ///
    /// # Errors
    /// When its files cannot be used; says what to do.
    pub async fn open(config: &Config, clock: Clock, ids: Ids) -> Result<Self, OpenError> {
        let Some(path) = &config.file else { return Ok(Self::default()) };
        let lock = lock(path)?;
        let begun = beside(path, config.spool_folder.as_deref(), "begun");
        let both = spool::open_both(spools(path, config.spool_folder.as_deref()));
        let mut spools = both.map_err(|(path, error)| match error.kind() {
            io::ErrorKind::InvalidData => OpenError::Spool(path),
            _ => OpenError::beside(&path, error),
        })?;
        let (mut journal, left) = Journal::open(begun.clone()).map_err(|error| OpenError::beside(&begun, error))?;
        let mut store = Store::open(path).await?;
        repair(&mut store, &mut spools, &left, &clock).await.map_err(|error| match error {
            RepairError::Database(error) => OpenError::database(path, error),
            RepairError::Spool(path) => OpenError::Spool(path),
        })?;
        journal.clear().map_err(|error| OpenError::beside(&begun, error))?;
        let reader = Reader::open(path).await.map_err(|error| OpenError::database(path, error))?;
        let meter = Meter::new().map_err(OpenError::Metrics)?;
        let (number, seal) = store.last().unwrap_or((0, chain_hash::Seal::NONE));
        tracing::info!(file = %path.display(), number, seal = seal.to_hex(), "ledger: open");
        let shared = Arc::new(Shared {
            keeping: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            journal: Mutex::new(journal),
            spooled: Spooled::default(),
            meter,
            #[cfg(test)]
            spool_is_broken: AtomicBool::new(false),
        });
        let (asked, receiver) = mpsc::unbounded_channel();
        let (closing, writing) = (CancellationToken::new(), TaskTracker::new());
        let keep = config.keep().unwrap_or(Duration::MAX);
        let flusher = Flusher::new(store, Arc::clone(&shared), keep, clock.clone());
        let writer = Writer::new(receiver, Arc::clone(&shared), writing.clone(), flusher, spools);
        writing.spawn(writer.run(closing.clone()));
        writing.close();
        Ok(Self(Some(Arc::new(Open { asked, shared, reader, clock, ids, closing, writing, _lock: lock }))))
    }

    /// Registers its metrics; those of one that is not there stay as they are.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        match &self.0 {
            Some(open) => open.shared.meter.register(registry),
            None => Meter::new()?.register(registry),
        }
    }

    /// Whether anything is written down.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a flight, which is announced with its first call. What it needs to know is only asked for if there is a ledger.
    ///
    /// # Errors
    /// When nothing can be written down now: then nothing that costs money may begin.
    pub fn begin(&self, begun: impl FnOnce(Uuid, i64) -> Begun) -> Result<Flight, NotWritten> {
        let Some(open) = &self.0 else { return Ok(Flight::NONE) };
        if !open.shared.is_keeping() {
            return Err(NotWritten);
        }
        let begun = begun(open.ids.ordered(), open.clock.now().as_millisecond());
        Ok(Flight::new(Arc::clone(open), begun))
    }

    /// Writes an answer down and returns when it is on the disk, and with it all that was given before it. The answer is
    /// written also if nobody waits any more.
    ///
    /// # Errors
    /// When it cannot be written anywhere: the answer must not be told. (A disk that fails in the wrong moment, and then the
    /// process, may leave it there all the same.)
    pub async fn write(&self, answer: impl FnOnce(i64) -> Answer, flight: Flight) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else { return Ok(()) };
        open.write(Entry::Answer(answer(open.clock.now().as_millisecond())), flight).await
    }

    /// Writes an answer down when its turn comes. Nobody waits for it.
    pub fn note(&self, answer: impl FnOnce(i64) -> Answer, flight: Flight) {
        let Some(open) = &self.0 else { return };
        if open.shared.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            // Counted only: a line for each would be a flood of its own.
            flight.leave_open();
            return open.shared.meter.lost(1);
        }
        open.order(Entry::Answer(answer(open.clock.now().as_millisecond())), flight, None);
    }

    /// The answer with this id; nothing without a ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn answer(&self, id: Uuid) -> Result<Option<Found>, sqlx::Error> {
        match &self.0 {
            Some(open) => open.moved().await.answer(id).await,
            None => Ok(None),
        }
    }

    /// The calls of a flight.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, sqlx::Error> {
        match &self.0 {
            Some(open) => open.moved().await.calls(flight).await,
            None => Ok(Vec::new()),
        }
    }

    /// A page of at most `most` answers, the newest first, those below the number `below`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn answers(&self, wanted: &Wanted, below: i64, most: u32) -> Result<Vec<Found>, sqlx::Error> {
        match &self.0 {
            Some(open) => open.moved().await.answers(wanted, below, most).await,
            None => Ok(Vec::new()),
        }
    }

    async fn reader(&self) -> Option<&Reader> {
        match &self.0 {
            Some(open) => Some(open.moved().await),
            None => None,
        }
    }

    /// Writes what was given so far, and ends. What is given from now on is lost.
    pub async fn close(&self) {
        if let Some(open) = &self.0 {
            // First, so that the writer is the last one there, who writes the log back into the file.
            // Whoever still reads something long is not waited for.
            let _ = tokio::time::timeout(READERS_LEAVE, open.reader.close()).await;
            open.closing.cancel();
            open.writing.wait().await;
        }
    }
}

impl Open {
    async fn write(&self, entry: Entry, flight: Flight) -> Result<(), NotWritten> {
        let (done, written) = oneshot::channel();
        self.order(entry, flight, Some(done));
        written.await.unwrap_or(Err(NotWritten))
    }

    fn order(&self, entry: Entry, flight: Flight, done: Option<Done>) {
        let Some(order) = WriteRequest::new(entry, flight, done) else { return self.shared.lost(1) };
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if self.asked.send(Asked::Write(order)).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost(1);
        }
    }

    /// What reads, once all that was given so far can be read, or cannot be now.
    async fn moved(&self) -> &Reader {
        if self.shared.waiting.load(Ordering::Acquire) > 0 || !self.shared.meter.is_level() {
            let (moved, is_moved) = oneshot::channel();
            if self.asked.send(Asked::Move(moved)).is_ok() {
                // A writer that is gone has moved all.
                let _ = is_moved.await;
            }
        }
        &self.reader
    }
}

impl Shared {
    fn is_keeping(&self) -> bool {
        self.keeping.load(Ordering::Relaxed)
    }

    fn keeps(&self, keeps: bool) {
        self.keeping.store(keeps, Ordering::Relaxed);
        self.meter.available(keeps);
    }

    fn lost(&self, entries: usize) {
        self.meter.lost(entries);
        tracing::error!(entries, "ledger: entries are lost");
    }

    fn cannot_announce(&self, error: &io::Error) {
        if self.is_keeping() {
            tracing::error!(%error, "ledger: the journal cannot be written; paid calls are refused");
            self.keeps(false);
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        // Whoever panicked in it has left at most a line too many.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// No more than whether: what it holds knows digests of people.
impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({})", if self.is_on() { "on" } else { "off" })
    }
}

/// Waits until the database `file` has all that is in its spool (in `folder`, if that has one of its own), which a running idgate
/// sees to. The files that are left after that: nobody moves what they hold before the next start.
pub async fn left_behind(file: &Path, folder: Option<&Path>) -> Vec<PathBuf> {
    spool::left_behind(spools(file, folder).into(), SEEN_TO).await
}

fn spools(file: &Path, folder: Option<&Path>) -> [PathBuf; 2] {
    ["spool", "spool-2"].map(|extension| beside(file, folder, extension))
}

fn beside(file: &Path, folder: Option<&Path>, extension: &str) -> PathBuf {
    let folder = folder.or(file.parent()).unwrap_or(Path::new(""));
    folder.join(file.file_name().unwrap_or_default()).with_extension(extension)
}

/// Makes sure that no other process writes here. The system lets go of it when this one ends, however it ends.
fn lock(path: &Path) -> Result<std::fs::File, OpenError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if !folder.is_none_or(Path::is_dir) {
        return Err(OpenError::NoFolder(path.to_owned()));
    }
    let beside = path.with_extension("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&beside);
    let file = file.map_err(|error| OpenError::beside(&beside, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::beside(&beside, error)),
    }
}
