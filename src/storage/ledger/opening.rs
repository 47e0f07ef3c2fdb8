//! Opens the ledger: takes its files, completes what an earlier process left unfinished, and starts the writer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announcer::Announcer;
use super::claims::Spooled;
use super::config::Config;
use super::database;
use super::error::OpenError;
use super::files::{Identity, Locks, beside, lock, lock_spool, spools};
use super::flusher::Flusher;
use super::handle::{Ledger, Open};
use super::inbox::Inbox;
use super::journal::{Journal, Left};
use super::journal_thread::JournalThread;
use super::metrics::Meter;
use super::postgres::{self, Link};
use super::queries;
use super::queue::Queue;
use super::reader::AnyReader;
use super::repair::{self, Postponed, RepairError, repair};
use super::shared::Shared;
use super::spool::{self, Room, Spool};
use super::spool_lookup;
use super::start_check::{self, Covered};
use super::store::AnyStore;
use super::wal::Wal;
use super::watch::{Places, watch};
use super::writer::Writer;
use crate::domain::clock::{Clock, Ids};

/// The files of a ledger, opened and locked, and what an earlier process left unfinished.
struct Files {
    locks: Locks,
    spools: [Spool; 2],
    room: Arc<Room>,
    journal: Journal,
    left: Vec<Left>,
    wal: Arc<Wal>,
}

/// Where the record is.
struct Record {
    /// What the log calls it.
    place: PathBuf,
    store: AnyStore,
    reader: AnyReader,
    link: Option<Link>,
}

impl Files {
    /// `path` is the database, or what the files are called if that is elsewhere. Blocks the thread.
    fn open(config: &Config, path: &Path) -> Result<Self, OpenError> {
        let folder = config.spool_folder.as_deref();
        let locks = match &config.file {
            Some(file) => lock(file)?,
            None => lock_spool(folder.unwrap_or(Path::new("")), &config.replica)?,
        };
        let room = Room::new(config.spool_most.0);
        let spools = spool::open_both(spools(path, folder), &room).map_err(|(path, error)| match error.kind() {
            io::ErrorKind::InvalidData => OpenError::Spool(path),
            io::ErrorKind::WouldBlock => OpenError::SpoolInUse(path),
            _ => OpenError::beside(&path, error),
        })?;
        let begun = beside(path, folder, "begun");
        let (journal, left) = Journal::open(begun.clone()).map_err(|error| OpenError::beside(&begun, error))?;
        Ok(Self { locks, spools, room, journal, left, wal: Arc::new(Wal::beside(path)) })
    }
}

impl Record {
    async fn in_file(path: &Path, wal: &Arc<Wal>) -> Result<Self, OpenError> {
        let covered = start_check::check(path, start_check::WITHIN).await?;
        let store = database::Store::open(path, Arc::clone(wal)).await?;
        let reader = queries::Reader::open(path).await;
        let reader = reader.map_err(|error| OpenError::Read(path.to_owned(), error))?;
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
        let (store, reader) = (AnyStore::Sqlite(Box::new(store)), AnyReader::Sqlite(reader));
        Ok(Self { place: path.to_owned(), store, reader, link: None })
    }

    /// Also starts to look whether the server answers.
    async fn in_postgres(
        config: &postgres::Config,
        (folder, replica): (&Path, &str),
        ids: &Ids,
        (writing, closing): (&TaskTracker, &CancellationToken),
    ) -> Result<Self, OpenError> {
        let opened = Link::start(config, replica, ids.ordered()).await;
        let (link, connection) = opened.map_err(|error| OpenError::Postgres(error.to_string()))?;
        writing.spawn(link.clone().watch(connection, closing.clone()));
        let store = postgres::Store::new(link.clone(), folder).map_err(|error| OpenError::beside(folder, error))?;
        Ok(Self {
            place: config.place().into(),
            store: AnyStore::Postgres(Box::new(store)),
            reader: AnyReader::Postgres(postgres::Reader::new(link.clone())),
            link: Some(link),
        })
    }
}

impl Ledger {
    /// Opens the ledger of `config`: completes what an earlier process left unfinished, then accepts entries. Without a
    /// file and without PostgreSQL it keeps nothing.
    ///
    /// # Errors
    /// If its files cannot be used, or PostgreSQL cannot; the error says what to do.
    pub async fn open(config: &Config, clock: Clock, ids: Ids) -> Result<Self, OpenError> {
        let path = match (&config.file, &config.postgres) {
            (Some(file), _) => file.clone(),
            (None, Some(_)) => config.spool_folder.clone().unwrap_or_default().join(&config.replica),
            (None, None) => return Ok(Self::default()),
        };
        let (of, at) = (config.clone(), path.clone());
        // A disk may hang; a stop signal must end the start all the same.
        let opened = tokio::task::spawn_blocking(move || Files::open(&of, &at)).await;
        let opened = opened.map_err(|_| OpenError::beside(&path, io::Error::other("it cannot be opened")))?;
        let Files { locks, mut spools, room, mut journal, left, wal } = opened?;
        let (closing, writing) = (CancellationToken::new(), TaskTracker::new());
        // Whatever ends this early ends the tasks that it has started.
        let closes = closing.clone().drop_guard();
        // PostgreSQL is looked after until the writer has closed it.
        let leaving = CancellationToken::new();
        let leaves = leaving.clone().drop_guard();
        let record = match &config.postgres {
            Some(postgres) if config.file.is_none() => {
                let folder = config.spool_folder.as_deref().unwrap_or(Path::new(""));
                Record::in_postgres(postgres, (folder, &config.replica), &ids, (&writing, &leaving)).await?
            }
            _ => Record::in_file(&path, &wal).await?,
        };
        let Record { place, mut store, reader, link } = record;
        let repaired = match link.as_ref().is_none_or(Link::is_up) {
            true => repair(&mut store, &mut spools, &left, &clock).await,
            false => Err(RepairError::Database(sqlx::Error::PoolClosed)),
        };
        let mut postponed = Postponed::default();
        match repaired {
            Ok(()) => {}
            Err(RepairError::Database(error)) if link.is_some() && postgres::may_pass(&error) => {
                let of = (config.spool_folder.clone().unwrap_or_default(), config.replica.clone());
                (spools, postponed) = postpone(spools, left, of, clock.clone()).await?;
            }
            Err(RepairError::Database(error)) if link.is_some() => return Err(OpenError::Postgres(error.to_string())),
            Err(RepairError::Database(error)) => return Err(OpenError::database(&path, error)),
            Err(RepairError::Spool(path)) => return Err(OpenError::Spool(path)),
        }
        let begun = journal.path().to_owned();
        journal.clear().map_err(|error| OpenError::beside(&begun, error))?;
        let meter = Meter::new().map_err(OpenError::Metrics)?;
        meter.behind(postponed.entries, true);
        let is_up = link.as_ref().is_none_or(Link::is_up);
        let heads = if is_up { store.heads().await.unwrap_or_default() } else { Vec::new() };
        tracing::info!(file = %place.display(), heads = heads.join(" "), "ledger: open");
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
            room,
            link,
            #[cfg(test)]
            spool_is_broken: AtomicBool::new(false),
        });
        let (inbox, receiver) = Inbox::new();
        let spool_paths = spools.each_ref().map(|spool| spool.path().to_owned());
        let failed = |error| OpenError::beside(&path, error);
        let [one, two] =
            spools.each_ref().map(|spool| Ok((spool.path().to_owned(), Identity::of(&spool.file().metadata()?))));
        let places = Places {
            database: locks.database.map(|database| ((path.clone(), database), wal)),
            spools: [one.map_err(failed)?, two.map_err(failed)?],
        };
        writing.spawn(watch(places, Arc::downgrade(&shared), closing.clone()));
        let keep = config.keep().unwrap_or(Duration::MAX);
        let flusher = Flusher::new(store, Arc::clone(&shared), keep, clock.clone());
        let writer = Writer::new(receiver, Arc::clone(&shared), writing.clone(), flusher, spools);
        let until = closing.clone();
        writing.spawn(async move {
            writer.run(until).await;
            drop(leaves);
        });
        let (announcer, announcements) = Announcer::new();
        let (announcing, until) = (announcements.serve(Arc::clone(&shared)), closing.clone());
        writing.spawn(until.run_until_cancelled_owned(announcing));
        writing.close();
        closes.disarm();
        let queue = Arc::new(Queue { inbox, announcer, shared, clock, ids });
        let spool_searches = Arc::new(Semaphore::new(spool_lookup::MOST_SEARCHES));
        Ok(Self(Some(Arc::new(Open {
            queue,
            reader,
            spools: spool_paths,
            spool_searches,
            closing,
            writing,
            _locks: locks,
        }))))
    }
}

/// Leaves to the flusher what an earlier process left, off the workers.
async fn postpone(
    mut spools: [Spool; 2],
    left: Vec<Left>,
    (folder, replica): (PathBuf, String),
    clock: Clock,
) -> Result<([Spool; 2], Postponed), OpenError> {
    let path = folder.join(&replica);
    let work = move || {
        let kept = postgres::kept_files(&folder, &replica)?;
        let postponed = repair::postpone(&mut spools, &left, &kept, &clock)?;
        io::Result::Ok((spools, postponed))
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| OpenError::beside(&path, error))
}
