//! The embedded back end: one file, one connection that writes, some that read.
//!
//! Invariants: entries are appended in one transaction or not at all, and are on the disk when [`Store::append`] returns
//! (write-ahead log, `synchronous = FULL`); a transaction is begun only by the writer, which nobody cancels.

use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqlSafeStr};

use super::entry::{Answer, Call, Entry};
use super::seal::Seal;
use super::{Broken, Found, Order, Page, Wanted};

/// So long a statement waits for another process that holds the file.
const BUSY: Duration = Duration::from_secs(1);

/// Connections that only read.
const READERS: u32 = 4;

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Store {
    connection: SqliteConnection,
    last: (i64, Seal),
}

/// The connections that read.
#[derive(Debug, Clone)]
pub(super) struct Reader(SqlitePool);

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        // Statements are told to nobody, least of all with what is bound to them.
        .disable_statement_logging()
}

fn migrations() -> Migrator {
    let first = include_str!("schema.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "entries".into(), MigrationType::Simple, first, false)])
}

impl Store {
    /// Opens the file, makes it if it is not there, and finds its end.
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let mut connection = options(path).create_if_missing(true).connect().await?;
        migrations().run_direct(None, &mut connection).await.map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
        let last = sqlx::query("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1");
        let last = match last.fetch_optional(&mut connection).await? {
            Some(row) => sealed(&row)?,
            None => {
                let removed = sqlx::query("SELECT seq, hash FROM removed ORDER BY seq DESC LIMIT 1");
                removed.fetch_optional(&mut connection).await?.as_ref().map_or(Ok((0, Seal::NONE)), sealed)?
            }
        };
        Ok(Self { connection, last })
    }

    /// Appends `entries`, in this order; they are on the disk when it returns.
    pub(super) async fn append(&mut self, entries: &[Entry]) -> Result<(), sqlx::Error> {
        let mut last = self.last;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for entry in entries {
            // Plain strings and numbers always make a JSON text.
            let body = serde_json::to_string(entry).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
            let (seq, seal) = (last.0 + 1, last.1.next(last.0 + 1, &body));
            sqlx::query("INSERT INTO entries (seq, at_ms, body, hash) VALUES ($1, $2, $3, $4)")
                .bind(seq)
                .bind(entry.at_ms())
                .bind(body)
                .bind(seal.0.to_vec())
                .execute(&mut *transaction)
                .await?;
            match entry {
                Entry::Answer(answer) => index_answer(seq, answer, &mut transaction).await?,
                Entry::Call(call) => index_call(seq, call, &mut transaction).await?,
            }
            last = (seq, seal);
        }
        transaction.commit().await?;
        self.last = last;
        Ok(())
    }

    /// Removes what is older than `before_ms`, at most so many entries at a time, from the front and without a gap.
    pub(super) async fn remove_before(&mut self, before_ms: i64, most: i64) -> Result<u64, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let old = "SELECT seq, hash FROM entries WHERE seq < (SELECT coalesce((SELECT min(seq) FROM entries WHERE \
                   at_ms >= $1), (SELECT max(seq) + 1 FROM entries))) ORDER BY seq LIMIT 1 OFFSET $2";
        // The last of a full batch, or the last that is old at all.
        let full = sqlx::query(old).bind(before_ms).bind(most - 1).fetch_optional(&mut *transaction).await?;
        let up_to = match full {
            Some(row) => Some(sealed(&row)?),
            None => {
                let last = "SELECT seq, hash FROM entries WHERE seq < (SELECT coalesce((SELECT min(seq) FROM entries \
                            WHERE at_ms >= $1), (SELECT max(seq) + 1 FROM entries))) ORDER BY seq DESC LIMIT 1";
                let row = sqlx::query(last).bind(before_ms).fetch_optional(&mut *transaction).await?;
                row.as_ref().map(sealed).transpose()?
            }
        };
        let Some((seq, seal)) = up_to else { return Ok(0) };
        for table in ["DELETE FROM entries WHERE seq <= $1", "DELETE FROM answers WHERE seq <= $1", "DELETE FROM calls WHERE seq <= $1"] {
            sqlx::query(table).bind(seq).execute(&mut *transaction).await?;
        }
        let before = sqlx::query("SELECT coalesce(max(seq), 0) AS seq FROM removed").fetch_one(&mut *transaction).await?;
        let before: i64 = before.try_get("seq")?;
        sqlx::query("DELETE FROM removed").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO removed (seq, hash) VALUES ($1, $2)")
            .bind(seq)
            .bind(seal.0.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(u64::try_from(seq - before).unwrap_or_default())
    }
}

async fn index_answer(seq: i64, answer: &Answer, into: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO answers (seq, id, at_ms, client, outcome, reference, provider, subject) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(seq)
    .bind(answer.id.as_bytes().to_vec())
    .bind(answer.at_ms)
    .bind(answer.client.clone())
    .bind(answer.outcome.clone())
    .bind(answer.reference.clone())
    .bind(answer.provider.clone())
    .bind(answer.subject.as_ref().map(|subject| subject.digest.clone()))
    .execute(into)
    .await
    .map(drop)
}

async fn index_call(seq: i64, call: &Call, into: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO calls (seq, at_ms, flight, provider, client, purpose, outcome, billed, price_micro_yuan, \
         provider_request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(seq)
    .bind(call.at_ms)
    .bind(call.flight.as_bytes().to_vec())
    .bind(call.provider.clone())
    .bind(call.client.clone())
    .bind(call.purpose.clone())
    .bind(call.outcome.clone())
    .bind(call.billed.clone())
    .bind(i64::try_from(call.price_micro_yuan).unwrap_or(i64::MAX))
    .bind(call.provider_request_id.clone())
    .execute(into)
    .await
    .map(drop)
}

fn sealed(row: &SqliteRow) -> Result<(i64, Seal), sqlx::Error> {
    let hash: Vec<u8> = row.try_get("hash")?;
    let hash = hash.try_into().map_err(|_| sqlx::Error::Decode("a hash is not 32 bytes long".into()))?;
    Ok((row.try_get("seq")?, Seal(hash)))
}

impl Reader {
    /// Opens the file for reading; it must be there.
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = options(path).read_only(true).create_if_missing(false);
        let pool = SqlitePoolOptions::new().max_connections(READERS).acquire_timeout(BUSY * 2);
        Ok(Self(pool.connect_with(options).await?))
    }

    /// The answer with this id.
    pub(super) async fn answer(&self, id: uuid::Uuid) -> Result<Option<Found>, sqlx::Error> {
        let text = "SELECT e.seq, e.body FROM answers a JOIN entries e ON e.seq = a.seq WHERE a.id = $1";
        let row = sqlx::query(text).bind(id.as_bytes().to_vec()).fetch_optional(&self.0).await?;
        row.as_ref().map(found).transpose()
    }

    /// A page of answers, the newest first.
    pub(super) async fn answers(&self, wanted: &Wanted, page: Page) -> Result<Vec<Found>, sqlx::Error> {
        let text = "SELECT e.seq, e.body FROM answers a JOIN entries e ON e.seq = a.seq WHERE a.seq < $1 \
                    AND ($2 IS NULL OR a.client = $2) AND ($3 IS NULL OR a.reference = $3) \
                    AND ($4 IS NULL OR a.at_ms >= $4) AND ($5 IS NULL OR a.at_ms < $5) \
                    AND ($6 IS NULL OR a.provider = $6) AND ($7 IS NULL OR a.outcome = $7) \
                    AND ($8 IS NULL OR a.subject = $8) ORDER BY a.seq DESC LIMIT $9";
        let rows = sqlx::query(text)
            .bind(page.before.unwrap_or(i64::MAX))
            .bind(wanted.client.clone())
            .bind(wanted.reference.clone())
            .bind(wanted.from_ms)
            .bind(wanted.until_ms)
            .bind(wanted.provider.clone())
            .bind(wanted.outcome.clone())
            .bind(wanted.subject.clone())
            .bind(i64::from(page.size))
            .fetch_all(&self.0)
            .await?;
        rows.iter().map(found).collect()
    }

    /// All entries in order, each given to `each` with its number; stops when that fails.
    pub(super) async fn each<E: From<sqlx::Error>>(
        &self,
        order: Order,
        mut each: impl FnMut(i64, i64, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let text = "SELECT seq, at_ms, body FROM entries WHERE at_ms >= $1 AND at_ms < $2 ORDER BY seq";
        let mut rows = sqlx::query(text).bind(order.from_ms).bind(order.until_ms).fetch(&self.0);
        while let Some(row) = rows.try_next().await.map_err(E::from)? {
            let body: String = row.try_get("body").map_err(E::from)?;
            each(row.try_get("seq").map_err(E::from)?, row.try_get("at_ms").map_err(E::from)?, &body)?;
        }
        Ok(())
    }

    /// Checks every seal, and that the tables which find entries agree with them. Returns how many entries there are.
    pub(super) async fn check(&self) -> Result<Result<u64, Broken>, sqlx::Error> {
        let removed = sqlx::query("SELECT seq, hash FROM removed ORDER BY seq DESC LIMIT 1");
        let (mut seq, mut seal) =
            removed.fetch_optional(&self.0).await?.as_ref().map_or(Ok((0, Seal::NONE)), sealed)?;
        let mut count = 0;
        let mut rows = sqlx::query("SELECT seq, at_ms, body, hash FROM entries ORDER BY seq").fetch(&self.0);
        while let Some(row) = rows.try_next().await? {
            let (found, hash) = sealed(&row)?;
            if found != seq + 1 {
                return Ok(Err(Broken::Gap { after: seq, before: found }));
            }
            let (body, at_ms): (String, i64) = (row.try_get("body")?, row.try_get("at_ms")?);
            seal = seal.next(found, &body);
            let says = serde_json::from_str::<Entry>(&body).ok().map(|entry| entry.at_ms());
            if seal != hash || says != Some(at_ms) {
                return Ok(Err(Broken::Changed { seq: found }));
            }
            (seq, count) = (found, count + 1);
        }
        let strays = "SELECT count(*) AS n FROM (SELECT seq FROM answers UNION ALL SELECT seq FROM calls) WHERE seq NOT \
                      IN (SELECT seq FROM entries)";
        let known = "SELECT (SELECT count(*) FROM answers) + (SELECT count(*) FROM calls) AS n";
        let strays: i64 = sqlx::query(strays).fetch_one(&self.0).await?.try_get("n")?;
        let known: i64 = sqlx::query(known).fetch_one(&self.0).await?.try_get("n")?;
        let agree = strays == 0 && u64::try_from(known).ok() == Some(count);
        Ok(if agree { Ok(count) } else { Err(Broken::Index) })
    }
}

fn found(row: &SqliteRow) -> Result<Found, sqlx::Error> {
    let body: String = row.try_get("body")?;
    match serde_json::from_str(&body) {
        Ok(Entry::Answer(answer)) => Ok(Found { seq: row.try_get("seq")?, answer }),
        Ok(Entry::Call(_)) => Err(sqlx::Error::Decode("an answer's place holds a call".into())),
        Err(error) => Err(sqlx::Error::Decode(Box::new(error))),
    }
}
