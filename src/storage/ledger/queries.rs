//! The read side of the SQLite database: lookups and export. `chain_check` checks the hash chain. Thanks to the
//! write-ahead log, readers and the writer do not block each other.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::{Sqlite, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{Database, Encode, QueryBuilder, Row, Type};
use tokio::time::Instant;
use uuid::Uuid;

use super::database::{entry, options};
use super::entry::{Answer, Call, Entry};
use super::error::ReadError;
use super::sums;

/// Connections for lookups.
const READERS: u32 = 4;
/// Connections reserved for lookups by id, so that walks never delay them.
const ID_READERS: u32 = 2;
/// Connections reserved for idempotency keys, so that a long lookup never delays a question.
const KEY_READERS: u32 = 2;
/// How long a reader waits for a connection, and for the file.
const PATIENCE: Duration = Duration::from_secs(2);

/// Selects entries by span (16,384 each), as the index by subject requires. SQLite never reorders a `CROSS JOIN`.
pub(super) const SPANS: &str = "WITH RECURSIVE spans (span) AS (SELECT (SELECT max(seq) FROM entries) >> 14 \
                     UNION ALL SELECT span - 1 FROM spans WHERE span > (SELECT min(seq) FROM entries) >> 14) ";
const IN_SPANS: &str = " FROM spans CROSS JOIN entries WHERE entries.span = spans.span AND kind = 'answer' AND seq < ";

/// How many entries one statement of a walk reads.
pub(super) const PART: usize = 500;
/// How many entries a lookup walks over, and for how long, before it says where to go on.
pub(super) const MOST_ROWS: usize = 50_000;
pub(super) const LONGEST_WALK: Duration = Duration::from_secs(1);

/// The read-only connections.
#[derive(Debug, Clone)]
pub struct Reader {
    pool: SqlitePool,
    ids: SqlitePool,
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

/// The answers that a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// Newest first.
    pub found: Vec<Found>,
    /// If there may be more: they have numbers below this one. A walk with a filter may end before it has found any.
    pub below: Option<i64>,
}

/// An answer with the number of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub seq: i64,
    pub answer: Answer,
}

impl Wanted {
    /// Appends what the text of an entry is wanted by, whichever database has it. The person is left to an index.
    pub(super) fn conditions<D: Database>(&self, query: &mut QueryBuilder<D>)
    where
        String: for<'q> Encode<'q, D> + Type<D>,
        i64: for<'q> Encode<'q, D> + Type<D>,
    {
        let Self { client, reference, from_ms, until_ms, provider, outcome, subject: _ } = self;
        let texts = [
            (" AND client = ", client),
            (" AND reference = ", reference),
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
    }

    /// The next entries of a walk: each with its number, and with its text if it is wanted. Only the first conditions
    /// choose which entries are read, and each choice has an index; a filter shall not lead to a longer walk.
    fn part(&self, below: i64) -> QueryBuilder<Sqlite> {
        let Self { client, reference, subject, .. } = self;
        let mut query = QueryBuilder::<Sqlite>::new(if subject.is_some() { SPANS } else { "" });
        query.push("SELECT seq, CASE WHEN kind = 'answer'");
        self.conditions(&mut query);
        query.push(" THEN body END AS body");
        if let Some(digest) = subject {
            // The index holds only the first 8 digits of the digest.
            let start: String = digest.chars().take(8).collect();
            query.push(IN_SPANS).push_bind(below).push(" AND subject_start = ").push_bind(start);
            query.push(" AND subject = ").push_bind(digest.clone());
        } else if let Some(reference) = reference {
            query.push(" FROM entries WHERE seq < ").push_bind(below);
            query.push(" AND reference = ").push_bind(reference.clone());
        } else if let Some(client) = client {
            query.push(" FROM entries WHERE kind = 'answer' AND seq < ").push_bind(below);
            query.push(" AND client = ").push_bind(client.clone());
        } else {
            query.push(" FROM entries WHERE seq < ").push_bind(below);
        }
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(PART as i64);
        query
    }

    /// The steps by which SQLite finds the entries of a walk.
    #[cfg(test)]
    pub(super) fn explained(&self, below: i64) -> String {
        format!("EXPLAIN QUERY PLAN {}", self.part(below).sql().as_str())
    }
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
        let ids = pool(ID_READERS).connect_lazy_with(options.clone());
        Ok(Self { pool: pool(READERS).connect_with(options).await?, ids, keys })
    }

    pub(super) async fn answer(&self, id: Uuid) -> Result<Option<Answer>, sqlx::Error> {
        let query = sqlx::query("SELECT seq, body FROM entries WHERE id = $1 AND kind = 'answer'").bind(id.to_string());
        Ok(query.fetch_optional(&self.ids).await?.as_ref().map(found).transpose()?.map(|found| found.answer))
    }

    /// The calls of a flight, in the order in which they ended.
    pub(super) async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, sqlx::Error> {
        self.calls_through(&self.ids, flight).await
    }

    /// The same through these connections.
    pub(super) async fn calls_through(&self, pool: &SqlitePool, flight: Uuid) -> Result<Vec<Call>, sqlx::Error> {
        let query = "SELECT body FROM entries WHERE flight = $1 AND kind = 'call' ORDER BY seq";
        let rows = sqlx::query(query).bind(flight.to_string()).fetch_all(pool).await?;
        rows.iter()
            .map(entry)
            .filter_map(|entry| match entry {
                Ok(Entry::Call(call)) => Some(Ok(call)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// At most `most` answers with numbers below `below`, newest first. Looks at `rows` entries or a little more, and
    /// says where to go on.
    pub(super) async fn answers(
        &self,
        wanted: &Wanted,
        mut below: i64,
        most: usize,
        rows: usize,
    ) -> Result<Answers, sqlx::Error> {
        let until = Instant::now() + LONGEST_WALK;
        let mut found: Vec<Found> = Vec::new();
        let mut seen = 0;
        loop {
            let part = wanted.part(below).build().fetch_all(&self.pool).await?;
            for row in &part {
                below = row.try_get("seq")?;
                if row.try_get::<Option<&str>, _>("body")?.is_none() {
                    continue;
                }
                if found.len() >= most {
                    return Ok(Answers { below: found.last().map(|last| last.seq), found });
                }
                found.push(self::found(row)?);
            }
            seen += part.len();
            if part.len() < PART {
                return Ok(Answers { found, below: None });
            }
            if seen >= rows || Instant::now() >= until {
                return Ok(Answers { found, below: Some(below) });
            }
        }
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
        let end = sqlx::query("SELECT max(seq) AS last FROM entries").fetch_one(&self.pool).await;
        let end = end.and_then(|row| row.try_get::<Option<i64>, _>("last")).map_err(ReadError::from)?;
        let (mut after, end) = (i64::MIN, end.unwrap_or(i64::MIN));
        // Page by page, because `each` may take any time, and the write-ahead log grows for as long as a query is open.
        let text = "SELECT seq, CASE WHEN at_ms >= $1 AND at_ms < $2 THEN body END AS body FROM entries \
                    WHERE seq > $3 AND seq <= $4 ORDER BY seq LIMIT $5";
        loop {
            let page = sqlx::query(text).bind(from_ms).bind(until_ms).bind(after).bind(end).bind(PART as i64);
            let page = page.fetch_all(&self.pool).await.map_err(ReadError::from)?;
            for row in &page {
                after = row.try_get("seq").map_err(ReadError::from)?;
                if let Some(body) = row.try_get::<Option<&str>, _>("body").map_err(ReadError::from)? {
                    each(after, body)?;
                }
            }
            if page.len() < PART {
                return Ok(());
            }
        }
    }

    /// Passes number and text of at most `most` entries after number `after` to `each`, in order.
    pub(super) async fn page_of_texts(
        &self,
        after: i64,
        most: usize,
        mut each: impl FnMut(i64, &str),
    ) -> Result<(), ReadError> {
        let text = "SELECT seq, body FROM entries WHERE seq > $1 ORDER BY seq LIMIT $2";
        for row in sqlx::query(text).bind(after).bind(most as i64).fetch_all(&self.pool).await? {
            each(row.try_get("seq")?, row.try_get("body")?);
        }
        Ok(())
    }

    /// The providers that were called.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn providers(&self) -> Result<Vec<String>, ReadError> {
        let mut connection = self.pool.begin().await?;
        if sums::exist(&mut connection).await? {
            let text = "SELECT provider FROM spent_by_day UNION SELECT provider FROM entries \
                        WHERE kind = 'call' AND seq > $1 ORDER BY provider";
            let rows = sqlx::query(text).bind(sums::summed(&mut connection).await?).fetch_all(&mut *connection).await?;
            return Ok(rows.iter().map(|row| row.try_get("provider")).collect::<Result<_, _>>()?);
        }
        drop(connection);
        // A file that an earlier idgate has written last has no sums.
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
        self.ids.close().await;
        self.pool.close().await;
    }
}

pub(super) fn found(row: &SqliteRow) -> Result<Found, sqlx::Error> {
    match entry(row)? {
        Entry::Answer(answer) => Ok(Found { seq: row.try_get("seq")?, answer }),
        _ => Err(sqlx::Error::Decode("something else where an answer was looked for".into())),
    }
}
