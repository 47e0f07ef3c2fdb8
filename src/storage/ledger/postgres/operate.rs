//! What operators do with the record from the command line, beside gateways that run.

use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row as _};
use uuid::Uuid;

use super::super::database::Times;
use super::super::entry::{Call, Entry, Operation};
use super::super::error::ReadError;
use super::super::id_times::first_id;
use super::super::queries;
use super::super::record::{self, Malformed};
use super::books::Book;
use super::check::{self, Books, BrokenBook, SoundBook};
use super::config::Config;
use super::link::Link;
use super::rows::{entry, only};
use super::schema;
use super::write::Store;
use crate::domain::clock::{Clock, Ids};

/// How many months are made ahead by whoever owns the schema.
const MONTHS_AHEAD: usize = 3;
/// How many entries are read, or sent, at once.
const PART: usize = 1000;

/// The record, to be read.
#[derive(Debug)]
pub struct Record {
    link: Link,
}

/// An entry as it is exported.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'a> {
    pub replica: &'a str,
    pub month: i32,
    pub number: i64,
    /// The sealed text.
    pub body: &'a str,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    pub entries: u64,
    /// Entries that PostgreSQL had already.
    pub known: u64,
    /// Records of removals, which are about numbers of the file, and entries whose id has no time.
    pub left_out: u64,
}

/// Why an operation failed, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    #[error("ledger.postgres: {0}")]
    Postgres(String),
    #[error("{0}")]
    Read(#[from] ReadError),
}

fn failed(error: &dyn std::fmt::Display) -> OperateError {
    OperateError::Postgres(error.to_string())
}

impl From<sqlx::Error> for OperateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Brings the schema up to date, and makes the partitions of this month and those that follow.
///
/// # Errors
/// If the server cannot be reached, or the role may not.
pub async fn migrate(config: &Config, clock: &Clock) -> Result<(), OperateError> {
    let link = Link::new(config, "", Uuid::nil());
    let mut connection = link.connect().await.map_err(|error| failed(&error))?;
    let (sql, name) = (link.sql(), link.schema());
    schema::migrate(&mut connection, sql, name).await.map_err(|error| failed(&error))?;
    let mut book = Book::of(first_id(clock.now().as_millisecond()));
    for _ in 0..=MONTHS_AHEAD {
        if let Some(month) = book {
            schema::partition(&mut connection, sql, name, month).await?;
            book = Some(month.next());
        }
    }
    Ok(connection.close().await?)
}

/// Connects, and says which server, which role and which rights are missing.
///
/// # Errors
/// If idgate could not work with it; the message says what to do.
pub async fn probe(config: &Config, clock: &Clock) -> Result<String, OperateError> {
    let link = Link::new(config, "", Uuid::nil());
    let mut connected = link.connect().await.map_err(|error| failed(&error))?;
    // A pooler must not give each statement another connection.
    let mut connection = connected.begin().await?;
    let text = "SELECT current_setting('server_version_num')::int AS version, current_user::text AS role, \
                pg_is_in_recovery() AS is_standby, (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms";
    let row = sqlx::query(text).persistent(false).fetch_one(&mut *connection).await?;
    let version: i32 = row.try_get("version")?;
    if version < 140_000 {
        return Err(failed(&format!("the server is version {}; 14 or later is needed", version / 10_000)));
    }
    if row.try_get("is_standby")? {
        return Err(failed(&"the server is a standby, which takes no writes; name the primary"));
    }
    let apart_ms = clock.now().as_millisecond().abs_diff(row.try_get::<i64, _>("now_ms")?);
    if apart_ms > 1000 {
        return Err(failed(&format!("its clock and ours are {apart_ms} ms apart; see that both follow NTP")));
    }
    match schema::check(&mut connection, link.sql(), link.schema()).await {
        Err(schema::SchemaError::Missing | schema::SchemaError::Old) if config.migrate => {
            let may = sqlx::query("SELECT has_database_privilege(current_database(), 'CREATE')").persistent(false);
            let exists = sqlx::query("SELECT to_regnamespace($1) IS NOT NULL AND has_schema_privilege($1, 'CREATE')");
            let may_make: bool = may.fetch_one(&mut *connection).await?.try_get(0)?;
            let exists = exists.persistent(false).bind(link.schema()).fetch_one(&mut *connection).await?;
            if !may_make && !exists.try_get::<Option<bool>, _>(0)?.unwrap_or_default() {
                return Err(failed(
                    &"the role may not make the tables; grant it CREATE, or run `idgate ledger migrate`",
                ));
            }
        }
        Err(error) => return Err(failed(&error)),
        Ok(()) => rights(&mut connection, &link).await?,
    }
    let role: String = row.try_get("role")?;
    connection.rollback().await?;
    let _ = connected.close().await;
    Ok(format!("PostgreSQL {}, as {role}", version / 10_000))
}

async fn rights(connection: &mut PgConnection, link: &Link) -> Result<(), OperateError> {
    let wanted = [
        ("entries", "SELECT, INSERT"),
        ("heads", "SELECT, INSERT, UPDATE"),
        ("replicas", "SELECT, INSERT, UPDATE"),
        ("daily", "SELECT, INSERT, UPDATE"),
        ("claims", "SELECT, INSERT, UPDATE, DELETE"),
        ("forgotten", "SELECT, INSERT, DELETE"),
        ("retention", "SELECT, INSERT, UPDATE"),
    ];
    for (table, rights) in wanted {
        for right in rights.split(", ") {
            let query = sqlx::query("SELECT has_table_privilege(format('%I.%I', $1::text, $2::text), $3)");
            let query = query.persistent(false).bind(link.schema()).bind(table).bind(right);
            if !query.fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
                let text = format!("the role has no right to {right} on {}.{table}; grant it", link.schema());
                return Err(failed(&text));
            }
        }
    }
    Ok(())
}

/// Lets entries expire by the time of the newest entry. Returns both times as they were before; `None` if there is no
/// entry.
///
/// # Errors
/// If the server cannot be used.
pub async fn confirm_time(config: &Config) -> Result<Option<Times>, OperateError> {
    let link = Link::to_read(config).await.map_err(|error| failed(&error))?;
    let mut store = Store::without_spool(link);
    let before = store.times().await?;
    if let Some(before) = before {
        store.believe(before.newest_ms).await?;
    }
    store.close(false).await;
    Ok(before)
}

/// Sends the entries of an SQLite ledger, which is kept, into the books of `replica`. It can be repeated.
///
/// # Errors
/// If one of both cannot be used. What was sent stays.
pub async fn import(
    config: &Config,
    file: &Path,
    replica: &str,
    (clock, ids): (&Clock, &Ids),
    mut progress: impl FnMut(u64),
) -> Result<Imported, OperateError> {
    let reader = queries::Reader::open(file).await?;
    let opened = Link::open(config, replica, ids.ordered()).await;
    let (link, _lives) = opened.map_err(|error| failed(&error))?;
    let store = Store::without_spool(link);
    let mut to =
        Sending { store, records: Vec::new(), count: 0, imported: Imported { entries: 0, known: 0, left_out: 0 } };
    let mut last = 0;
    // Page by page: what is read must not wait in memory.
    let mut after = 0;
    loop {
        let (mut texts, from) = (Vec::new(), after);
        reader
            .page_of_texts(from, PART, |number, text| {
                after = number;
                texts.push(text.to_owned());
            })
            .await?;
        if texts.is_empty() {
            break;
        }
        last = after;
        for text in &texts {
            to.add(text)?;
        }
        to.send().await?;
        progress(to.imported.entries + to.imported.known);
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Imported { entries, known, .. } = to.imported;
    let done = Entry::Operation(Operation {
        id: ids.ordered(),
        at_ms: clock.now().as_millisecond(),
        action: "import".to_owned(),
        outcome: "imported".to_owned(),
        operator: "local".to_owned(),
        reason: Some(format!("{name}: {entries} entries, {known} known, up to number {last}")),
        ..Operation::default()
    });
    to.store.append_one(&done).await?;
    to.store.close(true).await;
    Ok(to.imported)
}

/// A batch on its way from a file.
struct Sending {
    store: Store,
    records: Vec<u8>,
    count: u64,
    imported: Imported,
}

impl Sending {
    fn add(&mut self, text: &str) -> Result<(), OperateError> {
        let entry: Entry =
            serde_json::from_str(text).map_err(|error| failed(&format!("an entry cannot be read: {error}")))?;
        if matches!(entry, Entry::Removed(_)) || Book::of(entry.id()).is_none() {
            self.imported.left_out += 1;
            return Ok(());
        }
        record::write_text(text, &mut self.records).map_err(|error| failed(&error))?;
        self.count += 1;
        Ok(())
    }

    async fn send(&mut self) -> Result<(), OperateError> {
        let rows = record::rows(&self.records).map_err(|Malformed| failed(&"an entry is too long"))?;
        let new = self.store.append_new(&rows).await? as u64;
        self.imported.entries += new;
        self.imported.known += self.count - new;
        self.records.clear();
        self.count = 0;
        Ok(())
    }
}

impl Record {
    /// Connects, to read only.
    ///
    /// # Errors
    /// If it cannot be read; the message says what to do.
    pub async fn open(config: &Config) -> Result<Self, OperateError> {
        Ok(Self { link: Link::to_read(config).await.map_err(|error| failed(&error))? })
    }

    /// About how many entries there are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn count(&self) -> Result<u64, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_inherits JOIN pg_class ON \
                    pg_class.oid = inhrelid WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'";
        let query = self.link.sql().query(text).bind(self.link.schema());
        let row = only(self.link.sql().rows(&pools.lookups, query).await?)?;
        Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
    }

    /// The providers that were called.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn providers(&self) -> Result<Vec<String>, ReadError> {
        let pools = self.link.pools()?;
        // One step in an index for each, instead of a walk over all calls.
        let text = "SELECT min(provider) AS next FROM ~entries WHERE kind = 'call' AND provider > $1";
        let mut names: Vec<String> = Vec::new();
        loop {
            let last = names.last().cloned().unwrap_or_default();
            let query = self.link.sql().query(text).bind(last);
            let row = only(self.link.sql().rows(&pools.lookups, query).await?)?;
            match row.try_get::<Option<String>, _>("next")? {
                Some(next) => names.push(next),
                None => return Ok(names),
            }
        }
    }

    /// The number of calls to a provider that ended in this period.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn count_calls(&self, provider: &str, from_ms: i64, until_ms: i64) -> Result<u64, ReadError> {
        let pools = self.link.pools()?;
        let text =
            "SELECT count(*) AS n FROM ~entries WHERE kind = 'call' AND provider = $1 AND at_ms >= $2 AND at_ms < $3";
        let query = self.link.sql().query(text).bind(provider).bind(from_ms).bind(until_ms);
        Ok(only(self.link.sql().rows(&pools.lookups, query).await?)?.try_get::<i64, _>("n")?.unsigned_abs())
    }

    /// Passes each call to a provider that ended in this period to `each`, in the order in which they ended.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn each_call(
        &self,
        provider: &str,
        (from_ms, until_ms): (i64, i64),
        mut each: impl FnMut(Call),
    ) -> Result<(), ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT at_ms, id::text AS id, body FROM ~entries WHERE kind = 'call' AND provider = $1 AND at_ms < $2 \
                    AND (at_ms, id) > ($3, $4::uuid) ORDER BY at_ms, id LIMIT $5";
        let (mut at_ms, mut id) = (from_ms.saturating_sub(1), Uuid::max().to_string());
        loop {
            let page = self.link.sql().query(text).bind(provider).bind(until_ms).bind(at_ms).bind(&id);
            let page = self.link.sql().rows(&pools.lookups, page.bind(PART as i64)).await?;
            for row in &page {
                (at_ms, id) = (row.try_get("at_ms")?, row.try_get("id")?);
                if let Entry::Call(call) = entry(row)? {
                    each(call);
                }
            }
            if page.len() < PART {
                return Ok(());
            }
        }
    }

    /// Checks the books.
    ///
    /// # Errors
    /// If they cannot be read at all.
    pub async fn check(
        &self,
        books: &Books,
        progress: impl FnMut(u64),
    ) -> Result<Result<Vec<SoundBook>, BrokenBook>, ReadError> {
        check::check(&self.link, books, progress).await
    }

    /// Passes each entry of this period to `each`, in the order of their ids, until `each` fails.
    ///
    /// # Errors
    /// If they cannot be read, or `each` fails.
    pub async fn each<E: From<ReadError>>(
        &self,
        from_ms: i64,
        until_ms: i64,
        mut each: impl FnMut(Exported<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pools = self.link.pools()?;
        let text = "SELECT id::text AS id, replica, book, seq, CASE WHEN at_ms >= $1 AND at_ms < $2 THEN body END AS \
                    body FROM ~entries WHERE id > $3::uuid ORDER BY id LIMIT $4";
        let mut after = Uuid::nil();
        loop {
            let page = self.link.sql().query(text).bind(from_ms).bind(until_ms).bind(after.to_string());
            let page = page.bind(PART as i64);
            let page = self.link.sql().rows(&pools.lookups, page).await.map_err(ReadError::from)?;
            for row in &page {
                let read = || -> Result<_, sqlx::Error> {
                    let id = Uuid::try_parse(row.try_get("id")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
                    let of = (row.try_get("replica")?, row.try_get("book")?, row.try_get("seq")?);
                    Ok((id, of, row.try_get::<Option<&str>, _>("body")?))
                };
                let (id, (replica, month, number), body) = read().map_err(ReadError::from)?;
                after = id;
                if let Some(body) = body {
                    each(Exported { replica, month, number, body })?;
                }
            }
            if page.len() < PART {
                return Ok(());
            }
        }
    }
}
