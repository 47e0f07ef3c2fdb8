//! Where the flusher moves entries to: the SQLite file of one process, or the PostgreSQL of many replicas.

use uuid::Uuid;

use super::database::{self, Times};
use super::entry::Entry;
use super::pace::Pace;
use super::postgres;
use super::record::{self, Malformed, Row};

#[derive(Debug)]
pub(super) enum AnyStore {
    Sqlite(Box<database::Store>),
    Postgres(Box<postgres::Store>),
}

impl AnyStore {
    /// Appends these entries in this order; they are on the disk when it returns. Entries that exist already are skipped.
    /// SQLite works on this machine, and rests at this pace.
    pub(super) async fn append(&mut self, rows: &[Row<'_>], pace: Option<&mut Pace>) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.append(rows, pace).await,
            Self::Postgres(store) => store.append(rows).await,
        }
    }

    /// Appends these entries like [`Self::append`].
    pub(super) async fn append_entries(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        let mut records = Vec::new();
        // Plain strings and numbers always serialize.
        let written = entries.iter().try_for_each(|entry| record::write(entry, &mut records));
        written.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let rows = record::rows(&records).map_err(|Malformed| sqlx::Error::Encode("an entry is too long".into()))?;
        self.append(&rows, None).await
    }

    pub(super) async fn find(&mut self, id: Uuid) -> Result<Option<Entry>, sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.find(id).await,
            Self::Postgres(store) => store.find(id).await,
        }
    }

    /// The time of the newest entry, and the time that is believed of the clock; `None` if there is no entry.
    pub(super) async fn times(&mut self) -> Result<Option<Times>, sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.times().await,
            Self::Postgres(store) => store.times().await,
        }
    }

    /// Believes that the time of the newest entry is right.
    pub(super) async fn believe(&mut self, newest_ms: i64) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.believe(newest_ms).await,
            Self::Postgres(store) => store.believe(newest_ms).await,
        }
    }

    /// Removes entries that are more than `keep_ms` older than `at_ms`, at most `most` of them; from PostgreSQL, months
    /// that are wholly so old. Returns how many single entries it removed.
    pub(super) async fn remove_old(&mut self, at_ms: i64, keep_ms: i64, most: i64) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.remove_old(at_ms, keep_ms, most).await,
            Self::Postgres(store) => store.remove_old(at_ms, keep_ms).await.map(|()| 0),
        }
    }

    /// Adds entries that the sums lack, at most `most`. Returns whether there may be more.
    pub(super) async fn catch_up(&mut self, most: i64) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(store) => store.catch_up(most).await,
            Self::Postgres(_) => Ok(false),
        }
    }

    /// The last entries, each with its number and seal, as `verify` prints them.
    pub(super) async fn heads(&mut self) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(store) => {
                Ok(store.last().map(|(number, seal)| format!("{number}={}", seal.to_hex())).into_iter().collect())
            }
            Self::Postgres(store) => store.heads().await,
        }
    }

    /// `is_level` if everything has moved.
    pub(super) async fn close(&mut self, is_level: bool) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close(is_level).await,
        }
    }
}
