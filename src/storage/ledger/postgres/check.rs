//! Checks every book of the record: its seals, its columns, its head, the book before it, and the sums of its calls.
//!
//! All of it is read as of one moment, so replicas may write meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row as _};
use uuid::Uuid;

use super::super::chain_hash::Seal;
use super::super::entry::Entry;
use super::super::error::ReadError;
use super::super::id_times::first_id;
use super::super::record::with_columns;
use super::super::sums::{Sums, day_of};
use super::books::{Book, Head};
use super::link::Link;
use super::rows::{SUBJECT_DIGITS, head, seal};
use super::schema;

/// How many entries are read at once.
const PAGE: i64 = 1000;

/// Which books are checked; `None` is all.
#[derive(Debug, Clone, Default)]
pub struct Books {
    pub replica: Option<String>,
    /// The month, such as 202611.
    pub month: Option<i32>,
    /// Entries with the seals that an earlier check printed.
    pub expected: Vec<ExpectedSeal>,
}

/// An entry and its seal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpectedSeal {
    pub replica: String,
    pub month: i32,
    pub number: i64,
    /// 64 hexadecimal digits.
    pub seal: String,
}

/// A sound book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SoundBook {
    pub replica: String,
    pub month: i32,
    /// `None` if retention has removed them.
    pub entries: Option<u64>,
    /// The number of the last entry.
    pub last: i64,
    /// The seal of the last entry, as 64 hexadecimal digits.
    pub seal: String,
}

/// The first fault that a check found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenBook {
    #[error("{replica}/{month}: entries are missing after number {after}")]
    Gap { replica: String, month: i32, after: i64 },
    #[error("{replica}/{month}: entry number {number} was changed or moved, or one before it was")]
    Changed { replica: String, month: i32, number: i64 },
    #[error("{replica}/{month}: entry number {number} is sound, but its columns say something else")]
    Columns { replica: String, month: i32, number: i64 },
    #[error("{replica}/{month}: its last entry is not number {number} with the seal that is recorded")]
    Head { replica: String, month: i32, number: i64 },
    #[error("{replica}/{month}: the book before it does not end as it did when this one was begun")]
    Before { replica: String, month: i32 },
    #[error("{replica}/{month}: there are entries of a book that nobody has begun")]
    NoHead { replica: String, month: i32 },
    #[error(
        "the sums of what {client} has spent at {provider} through {replica} on day {day} are not those of its calls"
    )]
    Sums { day: i64, replica: String, provider: String, client: String },
    #[error("{replica}/{month}: entry number {number} is not there with the seal that is expected")]
    NotAsExpected { replica: String, month: i32, number: i64 },
}

/// Day, replica, provider and client.
type Owner = (i64, String, String, String);
/// Calls, cost and billed calls.
type Totals = BTreeMap<Owner, (i64, i64, i64)>;

struct Check<'a> {
    link: &'a Link,
    connection: &'a mut PgConnection,
    kept: HashSet<Book>,
    heads: HashMap<(String, Book), Head>,
    totals: Totals,
    found: HashSet<ExpectedSeal>,
}

enum Ended {
    Broken(BrokenBook),
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

/// Checks the books. `progress` gets the number of entries checked so far.
pub(super) async fn check(
    link: &Link,
    books: &Books,
    progress: impl FnMut(u64),
) -> Result<Result<Vec<SoundBook>, BrokenBook>, ReadError> {
    let connected = link.connect().await;
    let mut connection = connected.map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let checked = all(link, &mut snapshot, books, progress).await;
    let _ = snapshot.rollback().await;
    match checked {
        Ok(sound) => Ok(Ok(sound)),
        Err(Ended::Broken(broken)) => Ok(Err(broken)),
        Err(Ended::Failed(error)) => Err(error.into()),
    }
}

async fn all(
    link: &Link,
    connection: &mut PgConnection,
    books: &Books,
    mut progress: impl FnMut(u64),
) -> Result<Vec<SoundBook>, Ended> {
    let kept = schema::partitions(connection, link.schema()).await?.into_iter().collect();
    let text = "SELECT replica, book, seq, seal, after_book, after_seq, after_seal FROM ~heads ORDER BY replica, book";
    let rows = link.sql().query(text).fetch_all(&mut *connection).await?;
    let mut heads = HashMap::new();
    for row in &rows {
        let head = head(row)?;
        heads.insert((row.try_get("replica")?, head.book), head);
    }
    let (totals, found) = (Totals::new(), HashSet::new());
    let mut check = Check { link, connection, kept, heads, totals, found };
    check.no_book_lacks_its_head().await?;
    let (mut sound, mut seen) = (Vec::new(), 0);
    for row in &rows {
        let (replica, head) = (row.try_get::<String, _>("replica")?, head(row)?);
        let is_asked = books.replica.as_ref().is_none_or(|asked| *asked == replica)
            && books.month.is_none_or(|asked| asked == head.book.name());
        if is_asked {
            sound.push(check.book(&replica, head, before(row)?, books, &mut seen, &mut progress).await?);
        }
    }
    if books.replica.is_none() && books.month.is_none() {
        check.sums().await?;
    }
    // What retention has removed cannot be looked at.
    let is_kept = |expected: &&ExpectedSeal| {
        Book::from_name(expected.month).is_some_and(|book| check.kept.contains(&book))
            || !sound.iter().any(|book| book.replica == expected.replica && book.month == expected.month)
    };
    if let Some(missing) = books.expected.iter().filter(is_kept).find(|expected| !check.found.contains(expected)) {
        let ExpectedSeal { replica, month, number, .. } = missing.clone();
        return Err(Ended::Broken(BrokenBook::NotAsExpected { replica, month, number }));
    }
    Ok(sound)
}

/// The last entry of the replica when it began the book.
fn before(row: &PgRow) -> Result<Option<Head>, sqlx::Error> {
    let Some(name) = row.try_get::<Option<i32>, _>("after_book")? else { return Ok(None) };
    let book = Book::from_name(name).ok_or_else(|| sqlx::Error::Decode("a book is no month".into()))?;
    Ok(Some(Head { book, seq: row.try_get("after_seq")?, seal: seal(row, "after_seal")? }))
}

impl Check<'_> {
    async fn no_book_lacks_its_head(&mut self) -> Result<(), Ended> {
        let text = "SELECT DISTINCT replica, book FROM ~entries";
        for row in self.link.sql().query(text).fetch_all(&mut *self.connection).await? {
            let (replica, month): (String, i32) = (row.try_get("replica")?, row.try_get("book")?);
            let has_head = Book::from_name(month).is_some_and(|book| self.heads.contains_key(&(replica.clone(), book)));
            if !has_head {
                return Err(Ended::Broken(BrokenBook::NoHead { replica, month }));
            }
        }
        Ok(())
    }

    async fn book(
        &mut self,
        replica: &str,
        head: Head,
        before: Option<Head>,
        books: &Books,
        seen: &mut u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<SoundBook, Ended> {
        let (name, month) = (replica.to_owned(), head.book.name());
        let mut sound =
            SoundBook { replica: name.clone(), month, entries: None, last: head.seq, seal: head.seal.to_hex() };
        if !self.kept.contains(&head.book) {
            return Ok(sound);
        }
        if let Some(before) = before
            && !self.has(replica, before).await?
        {
            return Err(Ended::Broken(BrokenBook::Before { replica: name, month }));
        }
        let (mut last, mut entries, mut sums) = ((0, head.book.genesis(replica, before.as_ref())), 0, Sums::default());
        let text = "SELECT seq, seal, body, id::text AS id, kind, at_ms, client, outcome, encode(subject, 'hex') AS \
                    subject, provider, flight::text AS flight, reference, billed, reason, price FROM ~entries \
                    WHERE id >= $1::uuid AND id < $2::uuid AND replica = $3 AND seq > $4 ORDER BY seq LIMIT $5";
        let (from, to) = (first_id(head.book.start_ms()), first_id(head.book.next().start_ms()));
        loop {
            let page = self.link.sql().query(text).bind(from.to_string()).bind(to.to_string()).bind(replica);
            let page = page.bind(last.0).bind(PAGE).fetch_all(&mut *self.connection).await?;
            for row in &page {
                let (seq, body): (i64, &str) = (row.try_get("seq")?, row.try_get("body")?);
                if seq != last.0 + 1 {
                    return Err(Ended::Broken(BrokenBook::Gap { replica: name, month, after: last.0 }));
                }
                last = (seq, last.1.next(seq, body));
                if seal(row, "seal")? != last.1 {
                    return Err(Ended::Broken(BrokenBook::Changed { replica: name, month, number: seq }));
                }
                let entry = serde_json::from_str::<Entry>(body).ok();
                if !entry.as_ref().is_some_and(|entry| columns_agree(row, entry).unwrap_or(false)) {
                    return Err(Ended::Broken(BrokenBook::Columns { replica: name, month, number: seq }));
                }
                if let Some(Entry::Call(call)) = &entry {
                    sums.add(call.into());
                }
                self.note(&name, month, last, books);
                (entries, *seen) = (entries + 1, *seen + 1);
            }
            progress(*seen);
            if page.is_empty() {
                break;
            }
        }
        if last != (head.seq, head.seal) {
            return Err(Ended::Broken(BrokenBook::Head { replica: name, month, number: head.seq }));
        }
        for line in sums.lines() {
            let total = self.totals.entry((line.day, name.clone(), line.provider, line.client)).or_default();
            *total = (total.0 + line.calls, total.1 + line.micro_yuan, total.2 + line.billed);
        }
        sound.entries = Some(entries);
        Ok(sound)
    }

    fn note(&mut self, replica: &str, month: i32, (number, seal): (i64, Seal), books: &Books) {
        let is_it = |expected: &&ExpectedSeal| {
            expected.number == number && expected.month == month && expected.replica == replica
        };
        if let Some(expected) = books.expected.iter().find(is_it)
            && expected.seal == seal.to_hex()
        {
            self.found.insert(expected.clone());
        }
    }

    /// Whether this entry is there, as far as its month is kept.
    async fn has(&mut self, replica: &str, entry: Head) -> Result<bool, sqlx::Error> {
        if !self.kept.contains(&entry.book) {
            return Ok(true);
        }
        let text = "SELECT seal FROM ~entries WHERE replica = $1 AND book = $2 AND seq = $3";
        let query = self.link.sql().query(text).bind(replica).bind(entry.book.name()).bind(entry.seq);
        let row = query.fetch_optional(&mut *self.connection).await?;
        row.map_or(Ok(false), |row| Ok(seal(&row, "seal")? == entry.seal))
    }

    /// Compares the sums with those of the calls, for the days whose calls are all kept.
    async fn sums(&mut self) -> Result<(), Ended> {
        let oldest = self.kept.iter().min().map_or(i64::MIN, |book| day_of(book.start_ms()));
        let text = "SELECT day, replica, provider, client, sum(calls)::bigint AS calls, sum(micro_yuan)::bigint AS \
                    micro_yuan, sum(billed)::bigint AS billed FROM ~daily WHERE day > $1 \
                    GROUP BY day, replica, provider, client";
        let mut kept = Totals::new();
        for row in self.link.sql().query(text).bind(oldest).fetch_all(&mut *self.connection).await? {
            let owner =
                (row.try_get("day")?, row.try_get("replica")?, row.try_get("provider")?, row.try_get("client")?);
            kept.insert(owner, (row.try_get("calls")?, row.try_get("micro_yuan")?, row.try_get("billed")?));
        }
        let is_zero = |total: Option<&(i64, i64, i64)>| total.is_none_or(|total| *total == (0, 0, 0));
        let owners = kept.keys().chain(self.totals.keys().filter(|owner| owner.0 > oldest));
        let wrong = owners.into_iter().find(|owner| {
            let (kept, real) = (kept.get(*owner), self.totals.get(*owner));
            kept != real && !(is_zero(kept) && is_zero(real))
        });
        match wrong.cloned() {
            Some((day, replica, provider, client)) => {
                Err(Ended::Broken(BrokenBook::Sums { day, replica, provider, client }))
            }
            None => Ok(()),
        }
    }
}

/// Whether the columns of this row say what `entry` says.
fn columns_agree(row: &PgRow, entry: &Entry) -> Result<bool, sqlx::Error> {
    let text = |name: &str| row.try_get::<Option<&str>, _>(name);
    let names = ["kind", "id", "client", "outcome", "provider", "subject", "flight", "reference", "billed", "reason"];
    let own = names.map(text).into_iter().collect::<Result<Vec<_>, _>>()?;
    let (at_ms, price) = (row.try_get::<i64, _>("at_ms")?, row.try_get::<Option<i64>, _>("price")?);
    let is_uuid = |text: &str| Uuid::try_parse(text).is_ok();
    Ok(with_columns(entry, |right| {
        let subject = right.subject.and_then(|digits| digits.get(..SUBJECT_DIGITS));
        let always = [right.kind, right.id, right.client, right.outcome].map(Some);
        let maybe = [right.provider, subject, right.flight, right.reference, right.billed, right.reason];
        is_uuid(right.id)
            && at_ms == right.at_ms
            && price == right.price_micro_yuan
            && own.into_iter().eq(always.into_iter().chain(maybe))
    }))
}
