//! The write side of the SQLite database: one file, one connection. `queries` is the read side.
//!
//! Invariants: entries are appended in one transaction or not at all, and are on the disk when [`Store::append`]
//! returns (write-ahead log, `synchronous = FULL`); an id is written once; transactions run only in the writer's tasks
//! and at start, where nothing cancels them. Apart from `BEGIN IMMEDIATE` and the pragmas, the statements also run on
//! PostgreSQL; the schema is specific to SQLite.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row as _, SqlSafeStr};
use uuid::Uuid;

use super::chain_hash::Seal;
use super::entry::{Entry, Removed};
use super::error::{OpenError, ReadError};
use super::insert::Inserts;
use super::pace::Pace;
use super::record::{self, Malformed, Row};
use super::sums;
use super::wal::Wal;

/// How long a statement waits while another process holds the file. After that, entries stay in the spool.
const BUSY: Duration = Duration::from_millis(250);

/// How long a start waits while another process holds the file, such as one that copies it.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long an operator's command waits while another process holds the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The page cache of the writing connection, in KiB (the minus sign selects that unit).
const CACHE: &str = "-16384";

/// How many pages of the write-ahead log are merged into the file at once. With more, pages that change again and again
/// are written less often; but requests wait while the processor copies pages, and that is seen in their p99.
const CHECKPOINT: &str = "500";

/// What the write-ahead log is cut to after it has grown, in bytes.
const JOURNAL_SIZE: &str = "67108864";

/// The writing connection.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    wal: Arc<Wal>,
    /// `None` after a failure, until the file is reopened.
    connection: Option<SqliteConnection>,
    /// The number and seal of the last entry, if known.
    last: Option<(i64, Seal)>,
    /// Whether the sums are known to include the last entry.
    is_summed: bool,
    inserts: Inserts,
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        // Statements and the values bound to them must not reach the log.
        .disable_statement_logging()
}

pub(super) fn migrations() -> Migrator {
    let one = |version, name: &'static str, text: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        one(1, "entries", include_str!("schema.sql")),
        one(2, "idempotency keys", include_str!("schema_keys.sql")),
        one(3, "spent", include_str!("spent.sql")),
        one(4, "indexes", include_str!("indexes.sql")),
        one(5, "retention", include_str!("retention.sql")),
        one(6, "sealed removals", include_str!("sealed_removals.sql")),
        one(7, "sums", include_str!("sums.sql")),
        one(8, "operations", include_str!("operations.sql")),
        one(9, "columns", include_str!("columns.sql")),
    ])
}

impl Store {
    /// Opens or creates the file and finds its last entry.
    pub(super) async fn open(path: &Path, wal: Arc<Wal>) -> Result<Self, OpenError> {
        let mut store = Self {
            path: path.to_owned(),
            wal,
            connection: None,
            last: None,
            is_summed: false,
            inserts: Inserts::new(),
        };
        let failed = |error| OpenError::database(path, error);
        let mut connection = connect(path).await.map_err(failed)?;
        // Probes are answered meanwhile, so a start need not fail because somebody makes a copy.
        set_busy_timeout(&mut connection, START_PATIENCE).await.map_err(failed)?;
        adopt(&mut connection).await.map_err(failed)?;
        migrations().run(&mut connection).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
            _ => OpenError::Foreign(path.to_owned()),
        })?;
        // Fail at start, not at the first answer, if the file can be read but not written.
        let mut probe = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        sqlx::query("DELETE FROM retention WHERE only_row <> 1").execute(&mut *probe).await.map_err(failed)?;
        probe.rollback().await.map_err(failed)?;
        store.last = Some(end_of(&mut connection).await.map_err(failed)?);
        set_busy_timeout(&mut connection, BUSY).await.map_err(failed)?;
        store.connection = Some(connection);
        store.wal.opened().await;
        Ok(store)
    }

    /// The number and seal of the last entry, if known.
    pub(super) const fn last(&self) -> Option<(i64, Seal)> {
        self.last
    }

    /// Appends these entries in this order; they are on the disk when it returns. Entries that exist already are skipped.
    /// It rests as `pace` says, and without one not at all.
    pub(super) async fn append(&mut self, rows: &[Row<'_>], pace: Option<&mut Pace>) -> Result<(), sqlx::Error> {
        let appended = self.try_append(rows, pace).await;
        self.settle(appended)
    }

    async fn try_append(&mut self, rows: &[Row<'_>], mut pace: Option<&mut Pace>) -> Result<(), sqlx::Error> {
        let (known, was_summed) = (self.last.take(), std::mem::take(&mut self.is_summed));
        self.connection().await?;
        let Self { connection: Some(connection), inserts, .. } = self else { return Err(sqlx::Error::WorkerCrashed) };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let before = match known {
            Some(last) => last,
            None => end_of(&mut transaction).await?,
        };
        let is_summed = was_summed || sums::summed(&mut transaction).await? == before.0;
        let (mut last, mut written) = (before, 0);
        for piece in rows.chunks(pace.as_ref().map_or(usize::MAX, |pace| pace.piece())) {
            let mut seals = Vec::with_capacity(piece.len());
            for row in piece {
                last = (last.0 + 1, last.1.next(last.0 + 1, row.text));
                seals.push(last);
            }
            if let Some(pace) = &mut pace {
                pace.rest_before(piece.iter().map(|row| row.text.len() as u64).sum()).await;
            }
            written += inserts.all(&mut transaction, piece, &seals).await?;
        }
        let mut new = Vec::new();
        let mut added = rows;
        if written == 0 {
            // Every entry existed already.
            (last, added) = (before, &[]);
        } else if written < rows.len() as u64 {
            // Some existed already, so the entries after them need different numbers and seals: start over, one by one.
            transaction.rollback().await?;
            transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            last = before;
            for row in rows {
                let next = (last.0 + 1, last.1.next(last.0 + 1, row.text));
                if inserts.all(&mut transaction, &[*row], &[next]).await? > 0 {
                    last = next;
                    new.push(*row);
                }
            }
            added = &new;
        }
        // Otherwise the flusher catches up.
        if is_summed && last != before {
            sums::add(&mut transaction, added, last.0).await?;
        }
        transaction.commit().await?;
        (self.last, self.is_summed) = (Some(last), is_summed);
        Ok(())
    }

    #[cfg(test)]
    pub(super) async fn append_entries(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        let mut records = Vec::new();
        entries.iter().try_for_each(|entry| record::write(entry, &mut records)).expect("they are plain");
        self.append(&rows(&records)?, None).await
    }

    pub(super) async fn find(&mut self, id: Uuid) -> Result<Option<Entry>, sqlx::Error> {
        let query = sqlx::query("SELECT body FROM entries WHERE id = $1").bind(id.to_string());
        let row = query.fetch_optional(self.connection().await?).await?;
        row.as_ref().map(entry).transpose()
    }

    /// The time of the newest entry, and the time that is believed of the clock; `None` if there is no entry.
    pub(super) async fn times(&mut self) -> Result<Option<Times>, sqlx::Error> {
        let read = match self.connection().await {
            Ok(connection) => times(connection).await,
            Err(error) => Err(error),
        };
        self.settle(read)
    }

    /// Believes that the time of the newest entry is right.
    pub(super) async fn believe(&mut self, newest_ms: i64) -> Result<(), sqlx::Error> {
        let believed = match self.connection().await {
            Ok(connection) => believe(connection, newest_ms).await,
            Err(error) => Err(error),
        };
        self.settle(believed)
    }

    /// Removes at most `most` entries that are more than `keep_ms` older than `at_ms`, from the front and without
    /// leaving a gap, and seals that.
    pub(super) async fn remove_old(&mut self, at_ms: i64, keep_ms: i64, most: i64) -> Result<u64, sqlx::Error> {
        let removed = self.try_remove(at_ms, keep_ms, most).await;
        self.settle(removed)
    }

    async fn try_remove(&mut self, at_ms: i64, keep_ms: i64, most: i64) -> Result<u64, sqlx::Error> {
        let (known, was_summed) = (self.last.take(), self.is_summed);
        self.connection().await?;
        let Self { connection: Some(connection), inserts, .. } = self else { return Err(sqlx::Error::WorkerCrashed) };
        let rows = "SELECT seq, hash, at_ms FROM entries ORDER BY seq LIMIT $1";
        let rows = sqlx::query(rows).bind(most).fetch_all(&mut *connection).await?;
        let (mut front, mut newest_ms, mut count) = (None, i64::MIN, 0);
        for row in &rows {
            let of_ms = row.try_get::<i64, _>("at_ms")?;
            if of_ms >= at_ms.saturating_sub(keep_ms) {
                break;
            }
            (front, newest_ms, count) = (Some(sealed(row)?), newest_ms.max(of_ms), count + 1);
        }
        let Some(front) = front else {
            self.last = known;
            return Ok(0);
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        // Before the deletion, so that there is always an entry.
        let end = end_of(&mut transaction).await?;
        let is_summed = was_summed || sums::summed(&mut transaction).await? == end.0;
        let removed = Removed::new(front, Some(newest_ms), at_ms, keep_ms);
        let last = seal_removal(&mut transaction, inserts, end, removed).await?;
        if is_summed {
            sums::reach(&mut transaction, last.0).await?;
        }
        sums::forget_before(&mut transaction, newest_ms).await?;
        sqlx::query("DELETE FROM entries WHERE seq <= $1").bind(front.0).execute(&mut *transaction).await?;
        transaction.commit().await?;
        self.last = Some(last);
        Ok(count)
    }

    /// Adds entries that the sums lack, at most `most`. Returns whether there may be more.
    pub(super) async fn catch_up(&mut self, most: i64) -> Result<bool, sqlx::Error> {
        let caught_up = async {
            let mut transaction = self.connection().await?.begin_with("BEGIN IMMEDIATE").await?;
            let more = sums::catch_up(&mut transaction, most).await?;
            transaction.commit().await?;
            Ok(more)
        };
        let caught_up = caught_up.await;
        self.settle(caught_up)
    }

    /// Merges the write-ahead log into the file and closes it, so that the file can be moved or read on its own.
    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.wal.closes();
            // If this fails, the next start does it.
            let _ = connection.close().await;
        }
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match self.connection {
            Some(ref mut connection) => Ok(connection),
            None => {
                let connection = self.connection.insert(connect(&self.path).await?);
                self.wal.opened().await;
                Ok(connection)
            }
        }
    }

    /// After an error the content of the file is uncertain, so the next use reopens it and looks up its last entry.
    fn settle<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if result.is_err() {
            self.wal.closes();
            (self.connection, self.last, self.is_summed) = (None, None, false);
        }
        result
    }
}

/// Two times, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The newest entry's.
    pub newest_ms: i64,
    /// Up to which the clock is believed; `None` before the first look.
    pub believed_ms: Option<i64>,
}

/// Lets entries expire by the time of the newest entry, after an operator has looked at it: a gateway that runs obeys
/// at its next look. Returns both times as they were before; `None` if there is no entry.
///
/// # Errors
/// If the file cannot be written.
pub async fn confirm_time(path: &Path) -> Result<Option<Times>, ReadError> {
    let mut connection = options(path).busy_timeout(PATIENCE).connect().await?;
    let before = times(&mut connection).await?;
    if let Some(before) = before {
        believe(&mut connection, before.newest_ms).await?;
    }
    connection.close().await?;
    Ok(before)
}

async fn times(connection: &mut SqliteConnection) -> Result<Option<Times>, sqlx::Error> {
    let newest = sqlx::query("SELECT at_ms FROM entries ORDER BY seq DESC LIMIT 1");
    let Some(newest) = newest.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let newest_ms = newest.try_get("at_ms")?;
    let believed = sqlx::query("SELECT believed_ms FROM retention").fetch_optional(connection).await?;
    let believed_ms = believed.map(|row| row.try_get("believed_ms")).transpose()?;
    Ok(Some(Times { newest_ms, believed_ms }))
}

async fn believe(connection: &mut SqliteConnection, newest_ms: i64) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO retention (only_row, believed_ms) VALUES (1, $1) \
                ON CONFLICT (only_row) DO UPDATE SET believed_ms = excluded.believed_ms";
    sqlx::query(text).bind(newest_ms).execute(connection).await.map(drop)
}

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    // Never creates the file, which is there and locked: a new one in the place of a deleted one would lack everything.
    let options = options(path).journal_mode(SqliteJournalMode::Wal);
    // SQLite copies the pages that a statement touches in case it fails; these copies need no disk.
    let options = options.pragma("journal_size_limit", JOURNAL_SIZE).pragma("wal_autocheckpoint", CHECKPOINT);
    options.pragma("temp_store", "MEMORY").pragma("cache_size", CACHE).connect().await
}

async fn set_busy_timeout(connection: &mut SqliteConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let pragma = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
    sqlx::query(sqlx::AssertSqlSafe(pragma)).execute(connection).await.map(drop)
}

/// The rows of records that this process made itself.
fn rows(records: &[u8]) -> Result<Vec<Row<'_>>, sqlx::Error> {
    record::rows(records).map_err(|Malformed| sqlx::Error::Encode("an entry is too long".into()))
}

async fn end_of(connection: &mut SqliteConnection) -> Result<(i64, Seal), sqlx::Error> {
    let last = sqlx::query("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1");
    last.fetch_optional(connection).await?.as_ref().map_or(Ok((0, Seal::NONE)), sealed)
}

/// Appends a removal after the entry with the number and seal of `end`; returns its own.
async fn seal_removal(
    connection: &mut SqliteConnection,
    inserts: &mut Inserts,
    end: (i64, Seal),
    removed: Removed,
) -> Result<(i64, Seal), sqlx::Error> {
    let mut records = Vec::new();
    let written = record::write(&Entry::Removed(removed), &mut records);
    written.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let rows = rows(&records)?;
    let next = |row: &Row<'_>| (end.0 + 1, end.1.next(end.0 + 1, row.text));
    let seals: Vec<_> = rows.iter().map(next).collect();
    let is_new = inserts.all(connection, &rows, &seals).await? > 0;
    Ok(seals.first().copied().filter(|_| is_new).unwrap_or(end))
}

/// Seals what an earlier idgate removed. It did not seal removals, so this can be done once, when the file is migrated.
async fn adopt(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let old = "SELECT name FROM sqlite_schema WHERE name = 'removed' AND type = 'table' \
               AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'removals')";
    if sqlx::query(old).fetch_optional(&mut *connection).await?.is_none() {
        return Ok(());
    }
    let removed = sqlx::query("SELECT seq, hash FROM removed ORDER BY seq DESC LIMIT 1");
    let Some(row) = removed.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let front = sealed(&row)?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let end = Some(end_of(&mut transaction).await?).filter(|(seq, _)| *seq > 0).unwrap_or(front);
    let newest = sqlx::query("SELECT at_ms FROM entries ORDER BY seq DESC LIMIT 1");
    let newest = newest.fetch_optional(&mut *transaction).await?;
    let at_ms = newest.map_or(Ok(0), |row| row.try_get("at_ms"))?;
    let body = record::text(&Entry::Removed(Removed::new(front, None, at_ms, 0)));
    let body = body.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    // The file has the columns of the earlier idgate.
    let text = "INSERT INTO entries (seq, body, hash) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    let (seq, seal) = (end.0 + 1, end.1.next(end.0 + 1, &body));
    sqlx::query(text).bind(seq).bind(body).bind(seal.0.to_vec()).execute(&mut *transaction).await?;
    transaction.commit().await
}

pub(super) fn sealed(row: &SqliteRow) -> Result<(i64, Seal), sqlx::Error> {
    let hash: Vec<u8> = row.try_get("hash")?;
    let hash = hash.try_into().map_err(|_| sqlx::Error::Decode("a hash is not 32 bytes long".into()))?;
    Ok((row.try_get("seq")?, Seal(hash)))
}

pub(super) fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let body: String = row.try_get("body")?;
    serde_json::from_str(&body).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
