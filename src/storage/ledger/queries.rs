//! The read side of the SQLite database: lookups and export. `chain_check` checks the hash chain. Thanks to the
//! write-ahead log, readers and the writer do not block each other.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::{Sqlite, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::database::{entry, options};
use super::entry::{Answer, Call, Entry};
use super::error::ReadError;

/// Connections for lookups.
const READERS: u32 = 4;
/// Connections reserved for idempotency keys, so that a long lookup never delays a question.
const KEY_READERS: u32 = 2;
/// How long a reader waits for a connection, and for the file.
const PATIENCE: Duration = Duration::from_secs(2);

/// Selects entries by span (16,384 each), as the index by subject requires. SQLite never reorders a `CROSS JOIN`.
pub(super) const IN_SPANS: &str = "WITH RECURSIVE spans (span) AS (SELECT (SELECT max(seq) FROM entries) >> 14 \
                        UNION ALL SELECT span - 1 FROM spans WHERE span > (SELECT min(seq) FROM entries) >> 14) \
                        SELECT seq, body FROM spans CROSS JOIN entries WHERE entries.span = spans.span AND";

/// The read-only connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
    keys: SqlitePool,
}

/// A filter for answers; `None` matches every answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub client: Option<String>,
    pub reference: Option<String>,
    /// Inclusive, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Exclusive, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    pub provider: Option<String>,
    pub outcome: Option<String>,
    /// The digest of the person, as 64 hexadecimal digits.
    pub subject: Option<String>,
}

/// An answer with the number of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub seq: i64,
    pub answer: Answer,
}

impl Reader {
    /// Opens the file read-only; it must exist.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn open(path: &Path) -> Result<Self, ReadError> {
        let options = options(path).read_only(true).busy_timeout(PATIENCE);
        let pool = |most| SqlitePoolOptions::new().max_connections(most).acquire_timeout(PATIENCE);
        let keys = pool(KEY_READERS).connect_lazy_with(options.clone());
        Ok(Self { pool: pool(READERS).connect_with(options).await?, keys })
    }

    pub(super) async fn answer(&self, id: Uuid) -> Result<Option<Answer>, sqlx::Error> {
        let query = sqlx::query("SELECT seq, body FROM entries WHERE id = $1 AND kind = 'answer'").bind(id.to_string());
        Ok(query.fetch_optional(&self.pool).await?.as_ref().map(found).transpose()?.map(|found| found.answer))
    }

    /// The calls of a flight, in the order in which they ended.
    pub(super) async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, sqlx::Error> {
        let query = "SELECT body FROM entries WHERE flight = $1 AND kind = 'call' ORDER BY seq";
        let rows = sqlx::query(query).bind(flight.to_string()).fetch_all(&self.pool).await?;
        rows.iter()
            .map(entry)
            .filter_map(|entry| match entry {
                Ok(Entry::Call(call)) => Some(Ok(call)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// At most `most` answers with numbers below `below`, newest first.
    pub(super) async fn answers(&self, wanted: &Wanted, below: i64, most: u32) -> Result<Vec<Found>, sqlx::Error> {
        let Wanted { client, reference, from_ms, until_ms, provider, outcome, subject } = wanted;
        // The index holds only the first 8 digits of the digest.
        let start = subject.as_ref().map(|digest| digest.chars().take(8).collect());
        let from = if subject.is_some() { IN_SPANS } else { "SELECT seq, body FROM entries WHERE" };
        let mut query = QueryBuilder::<Sqlite>::new(from);
        query.push(" kind = 'answer' AND seq < ").push_bind(below);
        // `coalesce` keeps SQLite from choosing another index: a client has very many answers, a person few.
        let [by_reference, by_client] = match subject {
            Some(_) => [" AND coalesce(reference, '') = ", " AND coalesce(client, '') = "],
            None => [" AND reference = ", " AND client = "],
        };
        let texts = [
            (" AND subject_start = ", &start),
            (" AND subject = ", subject),
            (by_reference, reference),
            (by_client, client),
            (" AND provider = ", provider),
            (" AND outcome = ", outcome),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                query.push(condition).push_bind(value.clone());
            }
        }
        for (condition, value) in [(" AND at_ms >= ", from_ms), (" AND at_ms < ", until_ms)] {
            if let Some(value) = value {
                query.push(condition).push_bind(*value);
            }
        }
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(i64::from(most));
        query.build().fetch_all(&self.pool).await?.iter().map(found).collect()
    }

    /// The number of entries from `from_ms` up to but not including `until_ms`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn count(&self, from_ms: i64, until_ms: i64) -> Result<u64, ReadError> {
        let query = sqlx::query("SELECT count(*) AS n FROM entries WHERE at_ms >= $1 AND at_ms < $2");
        let row = query.bind(from_ms).bind(until_ms).fetch_one(&self.pool).await?;
        Ok(row.try_get::<i64, _>("n")?.unsigned_abs())
    }

    /// Passes the number and the exact text of each entry in this period to `each`, in order, until `each` fails.
    ///
    /// # Errors
    /// If the file cannot be read, or `each` fails.
    pub async fn each<E: From<ReadError>>(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(i64, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let text = "SELECT seq, body FROM entries WHERE at_ms >= $1 AND at_ms < $2 ORDER BY seq";
        let mut rows = sqlx::query(text).bind(from_ms).bind(until_ms).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.map_err(ReadError::from)? {
            let (seq, body) = (row.try_get("seq"), row.try_get("body"));
            each(seq.map_err(ReadError::from)?, body.map_err(ReadError::from)?)?;
        }
        Ok(())
    }

    /// The providers that were called.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn providers(&self) -> Result<Vec<String>, ReadError> {
        // Jumps from name to name: there are few names and many calls.
        let text = "SELECT min(provider) AS next FROM entries WHERE kind = 'call' AND provider > $1";
        let mut names: Vec<String> = Vec::new();
        loop {
            let row = sqlx::query(text).bind(names.last().cloned().unwrap_or_default()).fetch_one(&self.pool).await?;
            match row.try_get::<Option<String>, _>("next")? {
                Some(next) => names.push(next),
                None => return Ok(names),
            }
        }
    }

    /// The number of calls to a provider that ended in this period.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn count_calls(&self, provider: &str, from_ms: i64, until_ms: i64) -> Result<u64, ReadError> {
        let text = "SELECT count(*) AS n FROM entries \
                    WHERE kind = 'call' AND provider = $1 AND at_ms >= $2 AND at_ms < $3";
        let row = sqlx::query(text).bind(provider).bind(from_ms).bind(until_ms).fetch_one(&self.pool).await?;
        Ok(row.try_get::<i64, _>("n")?.unsigned_abs())
    }

    /// Passes each call to a provider that ended in this period to `each`, in the order in which they ended.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn each_call(
        &self,
        provider: &str,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(Call),
    ) -> Result<(), ReadError> {
        let text = "SELECT body FROM entries \
                    WHERE kind = 'call' AND provider = $1 AND at_ms >= $2 AND at_ms < $3 ORDER BY at_ms";
        let mut rows = sqlx::query(text).bind(provider).bind(from_ms).bind(until_ms).fetch(&self.pool);
        while let Some(row) = rows.try_next().await? {
            if let Entry::Call(call) = entry(&row)? {
                each(call);
            }
        }
        Ok(())
    }

    pub(super) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) const fn keys(&self) -> &SqlitePool {
        &self.keys
    }

    pub(super) async fn close(&self) {
        self.keys.close().await;
        self.pool.close().await;
    }
}

pub(super) fn found(row: &SqliteRow) -> Result<Found, sqlx::Error> {
    match entry(row)? {
        Entry::Answer(answer) => Ok(Found { seq: row.try_get("seq")?, answer }),
        _ => Err(sqlx::Error::Decode("something else where an answer was looked for".into())),
    }
}
