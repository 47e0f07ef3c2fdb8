//! The flusher's side of PostgreSQL: one transaction for each batch, in which entries, heads of books, sums and claims
//! change together.
//!
//! Invariants: an id is written once, however often it is sent; a book has no gap; only the process that has this
//! replica's name writes its books. A transaction that is given up takes its connection with it, because nobody knows
//! what the server made of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row as _};
use uuid::Uuid;

use super::super::database::Times;
use super::super::entry::Entry;
use super::super::id_times::first_id;
use super::super::record::{self, Row};
use super::books::{Book, Head};
use super::daily;
use super::kept::Kept;
use super::keys;
use super::link::Link;
use super::rows::{SUBJECT_DIGITS, entry, head};
use super::schema;

const INSERT: &str = "INSERT INTO ~entries (id, replica, book, seq, seal, body, kind, at_ms, client, outcome, subject, \
     provider, flight, reference, billed, reason, price) \
     SELECT id::uuid, $1, book, seq, seal, body, kind, at_ms, client, outcome, decode(subject, 'hex'), provider, \
     flight::uuid, reference, billed, reason, price \
     FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::text[], $7::text[], $8::bigint[], \
     $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], \
     $17::bigint[]) AS t (id, book, seq, seal, body, kind, at_ms, client, outcome, subject, provider, flight, \
     reference, billed, reason, price) ON CONFLICT (id) DO NOTHING";

const ADVANCE: &str = "INSERT INTO ~heads AS h (replica, book, seq, seal, after_book, after_seq, after_seal) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (replica, book) DO UPDATE \
     SET seq = excluded.seq, seal = excluded.seal WHERE h.seq = $8";

/// A partition must be there so long before its month.
const SOON_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// How long a person that was forgotten stands in the table that tells the other replicas.
const FORGOTTEN_FOR_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The writing connection.
#[derive(Debug)]
pub(in super::super) struct Store {
    link: Link,
    /// `None` after a failure.
    connection: Option<PgConnection>,
    /// The last entries of the books that this process has written, as they were acknowledged.
    heads: BTreeMap<Book, Head>,
    /// Months that have a partition.
    partitions: HashSet<Book>,
    kept: Option<Kept>,
}

/// What a batch changes.
struct Batch<'r, 'a> {
    /// Those that are new, in order.
    rows: Vec<(&'r Row<'a>, Uuid, Head)>,
    /// The last entry of each book: before, and after.
    heads: BTreeMap<Book, (Option<Head>, Head)>,
    /// The last entry of the replica when a book was opened.
    after: HashMap<Book, Head>,
}

impl Store {
    /// `folder` is for batches that were sent a short time ago.
    pub(in super::super) fn new(link: Link, folder: &Path) -> std::io::Result<Self> {
        Ok(Self { kept: Some(Kept::open(folder, link.replica())?), ..Self::without_spool(link) })
    }

    /// For an operator's command, which can be repeated: nothing is sent again.
    pub(super) fn without_spool(link: Link) -> Self {
        Self { link, connection: None, heads: BTreeMap::new(), partitions: HashSet::new(), kept: None }
    }

    /// Appends these entries in this order; they are committed when it returns. Entries that exist already are skipped.
    pub(in super::super) async fn append(&mut self, rows: &[Row<'_>]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut connection = self.connected().await?;
        self.append_on(&mut connection, rows).await?;
        self.connection = Some(connection);
        // Before the spool lets go of them.
        match &mut self.kept {
            Some(kept) => kept.keep(rows).await.map_err(sqlx::Error::Io),
            None => Ok(()),
        }
    }

    /// Appends like [`Self::append`] what is not kept for sending it again, and returns how many were new.
    pub(super) async fn append_new(&mut self, rows: &[Row<'_>]) -> Result<usize, sqlx::Error> {
        let mut connection = self.connected().await?;
        let new = if rows.is_empty() { 0 } else { self.append_on(&mut connection, rows).await? };
        self.connection = Some(connection);
        Ok(new)
    }

    pub(super) async fn append_one(&mut self, entry: &Entry) -> Result<(), sqlx::Error> {
        let mut records = Vec::new();
        record::write(entry, &mut records).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let rows = record::rows(&records).map_err(|_| sqlx::Error::Encode("an entry is too long".into()))?;
        self.append_new(&rows).await.map(drop)
    }

    async fn append_on(&mut self, connection: &mut PgConnection, rows: &[Row<'_>]) -> Result<usize, sqlx::Error> {
        let ids = ids(rows)?;
        self.make_partitions(connection, &ids).await?;
        let link = self.link.clone();
        let (written, heads) = link.write(append(&link, connection, rows, &ids)).await?;
        self.heads.extend(heads);
        Ok(written)
    }

    async fn make_partitions(
        &mut self,
        connection: &mut PgConnection,
        ids: &[(Uuid, Book)],
    ) -> Result<(), sqlx::Error> {
        let (link, partitions) = (&self.link, &mut self.partitions);
        for (_, book) in ids {
            if link.may_migrate() && !partitions.contains(book) {
                link.write(schema::partition(connection, link.sql(), link.schema(), *book)).await?;
                partitions.insert(*book);
            }
        }
        Ok(())
    }

    /// The connection; a new one first finds out whether the server still has what it had acknowledged.
    async fn connected(&mut self) -> Result<PgConnection, sqlx::Error> {
        if self.link.is_taken() {
            let text = "another process has the name of this replica (replica.name)";
            return Err(sqlx::Error::Configuration(text.into()));
        }
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        if !self.link.is_up() {
            return Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, "PostgreSQL is away")));
        }
        let connected = self.link.connect().await;
        let mut connection = connected.map_err(|error| sqlx::Error::Io(std::io::Error::other(error.to_string())))?;
        self.partitions.clear();
        self.send_again(&mut connection).await?;
        Ok(connection)
    }

    /// A failover to a standby, or a restored copy, may lack what was acknowledged in the last seconds.
    async fn send_again(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let link = self.link.clone();
        let there = link.write(heads_apart(&link, connection)).await?;
        let has = |head: &Head| there.get(&head.book).is_some_and(|there| there.seq >= head.seq);
        // What an earlier process was told is not known here.
        if !self.heads.is_empty() && self.heads.values().all(has) {
            return Ok(());
        }
        let mut sent = 0;
        for batch in kept.batches().await.map_err(sqlx::Error::Io)? {
            let rows = record::rows(&batch).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData));
            sent += self.append_on(connection, &rows.map_err(sqlx::Error::Io)?).await?;
        }
        if sent > 0 {
            self.link.sent_again(sent as u64);
            tracing::error!(
                entries = sent,
                "ledger: PostgreSQL had lost entries that it had acknowledged; they were sent again"
            );
        }
        Ok(())
    }

    pub(in super::super) async fn find(&mut self, id: Uuid) -> Result<Option<Entry>, sqlx::Error> {
        let mut connection = self.connected().await?;
        let query = self.link.sql().query("SELECT body FROM ~entries WHERE id = $1::uuid").bind(id.to_string());
        let find = async {
            let mut transaction = connection.begin().await?;
            let row = query.fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(row)
        };
        let row = self.link.write(find).await?;
        self.connection = Some(connection);
        row.as_ref().map(entry).transpose()
    }

    /// The time of the newest entry, and the time that is believed of the clock; `None` if there is no entry.
    pub(in super::super) async fn times(&mut self) -> Result<Option<Times>, sqlx::Error> {
        let mut connection = self.connected().await?;
        let read = async {
            let newest = self.link.sql().query("SELECT at_ms FROM ~entries ORDER BY id DESC LIMIT 1");
            let mut transaction = connection.begin().await?;
            let Some(newest) = newest.fetch_optional(&mut *transaction).await? else { return Ok(None) };
            let believed = self.link.sql().query("SELECT believed_ms FROM ~retention");
            let believed = believed.fetch_optional(&mut *transaction).await?;
            transaction.commit().await?;
            let believed_ms = believed.map(|row| row.try_get("believed_ms")).transpose()?;
            Ok(Some(Times { newest_ms: newest.try_get("at_ms")?, believed_ms }))
        };
        let times = self.link.write(read).await?;
        self.connection = Some(connection);
        Ok(times)
    }

    /// Believes that the time of the newest entry is right.
    pub(in super::super) async fn believe(&mut self, newest_ms: i64) -> Result<(), sqlx::Error> {
        let mut connection = self.connected().await?;
        let text = "INSERT INTO ~retention (believed_ms) VALUES ($1) \
                    ON CONFLICT (only_row) DO UPDATE SET believed_ms = excluded.believed_ms";
        let query = self.link.sql().query(text).bind(newest_ms);
        self.link.write(alone(&mut connection, query)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Removes the months that are wholly more than `keep_ms` older than `at_ms`, and what is over of idempotency keys.
    /// Heads of books stay.
    pub(in super::super) async fn remove_old(&mut self, at_ms: i64, keep_ms: i64) -> Result<(), sqlx::Error> {
        let mut connection = self.connected().await?;
        let (link, oldest_ms) = (self.link.clone(), at_ms.saturating_sub(keep_ms));
        let removing = async {
            let mut transaction = connection.begin().await?;
            keys::remove_old(&mut transaction, link.sql(), at_ms).await?;
            let forgotten = link.sql().query("DELETE FROM ~forgotten WHERE at_ms < $1");
            forgotten.bind(at_ms.saturating_sub(FORGOTTEN_FOR_MS)).execute(&mut *transaction).await?;
            transaction.commit().await?;
            let soon = Book::of(first_id(at_ms.saturating_add(SOON_MS)));
            if let Some(soon) = soon.filter(|_| link.may_migrate()) {
                schema::partition(&mut connection, link.sql(), link.schema(), soon).await?;
            }
            let partitions = schema::partitions(&mut connection, link.schema()).await?;
            link.lacks_partition(soon.is_some_and(|soon| !partitions.contains(&soon)));
            if !link.may_migrate() {
                return Ok(());
            }
            for book in partitions {
                if book.next().start_ms() <= oldest_ms {
                    // If two replicas do this at once, the second one fails, and finds the month gone the next time.
                    schema::remove_partition(&mut connection, link.sql(), book).await?;
                    let mut transaction = connection.begin().await?;
                    daily::remove_before(&mut transaction, link.sql(), book.next().start_ms()).await?;
                    transaction.commit().await?;
                    tracing::warn!(month = book.name(), "ledger: the entries of this month were removed");
                }
            }
            Ok(())
        };
        link.write(removing).await?;
        self.connection = Some(connection);
        self.partitions.clear();
        Ok(())
    }

    /// The last entries of the two newest books of this replica, as `verify` prints them and `--expect` takes them.
    pub(in super::super) async fn heads(&mut self) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = self.connected().await?;
        let link = self.link.clone();
        let heads = link.write(heads_apart(&link, &mut connection)).await?;
        self.connection = Some(connection);
        let line =
            |Head { book, seq, seal }: &Head| format!("{}/{}/{seq}={}", link.replica(), book.name(), seal.to_hex());
        Ok(heads.values().rev().take(2).map(line).collect())
    }

    /// `is_level` if everything has moved: nobody need wait for this replica then.
    pub(in super::super) async fn close(&mut self, is_level: bool) {
        if let Some(mut connection) = self.connection.take() {
            if is_level {
                let text =
                    "UPDATE ~replicas SET level_ms = 9223372036854775807 WHERE replica = $1 AND incarnation = $2";
                let query = self.link.sql().query(text).bind(self.link.replica());
                let query = query.bind(self.link.incarnation().as_bytes().to_vec());
                // If this fails, it looks as if it had been killed.
                let _ = self.link.write(alone(&mut connection, query)).await;
            }
            let _ = self.link.write(connection.close()).await;
        }
    }
}

/// Runs one statement in a transaction of its own: between a statement and its values a pooler would take the connection
/// away.
async fn alone(
    connection: &mut PgConnection,
    query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    query.execute(&mut *transaction).await?;
    transaction.commit().await
}

/// [`heads`] in a transaction of their own.
async fn heads_apart(link: &Link, connection: &mut PgConnection) -> Result<BTreeMap<Book, Head>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let heads = heads(link, &mut transaction).await?;
    transaction.commit().await?;
    Ok(heads)
}

/// The ids with the books that they belong to.
fn ids(rows: &[Row<'_>]) -> Result<Vec<(Uuid, Book)>, sqlx::Error> {
    let id = |row: &Row<'_>| {
        let id = Uuid::try_parse(row.id).ok()?;
        Some((id, Book::of(id)?))
    };
    let no_time = || sqlx::Error::Encode("an id does not begin with its time".into());
    rows.iter().map(|row| id(row).ok_or_else(no_time)).collect()
}

/// Appends what is new and returns how much that was, and the new heads.
async fn append(
    link: &Link,
    connection: &mut PgConnection,
    rows: &[Row<'_>],
    ids: &[(Uuid, Book)],
) -> Result<(usize, BTreeMap<Book, Head>), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    check_name(link, &mut transaction).await?;
    let texts: Vec<_> = rows.iter().map(|row| row.id).collect();
    let there = link.sql().query("SELECT id::text AS id FROM ~entries WHERE id = ANY($1::uuid[])").bind(uuids(&texts));
    let there = there.fetch_all(&mut *transaction).await?;
    let mut known = there.iter().map(|row| row.try_get::<String, _>("id")).collect::<Result<HashSet<_>, _>>()?;
    let heads = heads(link, &mut transaction).await?;
    let mut batch = Batch { rows: Vec::with_capacity(rows.len()), heads: BTreeMap::new(), after: HashMap::new() };
    for (row, (id, book)) in rows.iter().zip(ids) {
        // Also if it comes twice in one batch.
        if known.insert(row.id.to_owned()) {
            batch.add(link.replica(), row, *id, *book, &heads);
        }
    }
    if batch.rows.is_empty() {
        transaction.rollback().await?;
        return Ok((0, BTreeMap::new()));
    }
    insert(link, &mut transaction, &batch).await?;
    let new: Vec<_> = batch.rows.iter().map(|(row, ..)| **row).collect();
    daily::add(&mut transaction, link.sql(), link.replica(), &new).await?;
    keys::moved(&mut transaction, link.sql(), link.replica(), &new).await?;
    advance(link, &mut transaction, &batch).await?;
    transaction.commit().await?;
    Ok((new.len(), batch.heads.into_iter().map(|(book, (_, head))| (book, head)).collect()))
}

impl<'r, 'a> Batch<'r, 'a> {
    fn add(&mut self, replica: &str, row: &'r Row<'a>, id: Uuid, book: Book, there: &BTreeMap<Book, Head>) {
        let known = self.heads.get(&book).map(|(_, head)| *head).or_else(|| there.get(&book).copied());
        let (seq, seal) = match known {
            Some(head) => (head.seq, head.seal),
            None => {
                let after = there.values().next_back().copied();
                self.after.extend(after.map(|after| (book, after)));
                (0, book.genesis(replica, after.as_ref()))
            }
        };
        let head = Head { book, seq: seq + 1, seal: seal.next(seq + 1, row.text) };
        self.rows.push((row, id, head));
        self.heads.entry(book).or_insert((known, head)).1 = head;
    }
}

async fn check_name(link: &Link, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let text = "SELECT incarnation FROM ~replicas WHERE replica = $1";
    let row = link.sql().query(text).bind(link.replica()).fetch_optional(connection).await?;
    let incarnation: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?;
    if incarnation.as_deref() == Some(link.incarnation().as_bytes()) {
        return Ok(());
    }
    // The look that comes each second tells whose it is.
    Err(sqlx::Error::Protocol("the name of this replica is not known to be its own".to_owned()))
}

/// The last entries of all books of this replica.
async fn heads(link: &Link, connection: &mut PgConnection) -> Result<BTreeMap<Book, Head>, sqlx::Error> {
    let query = link.sql().query("SELECT book, seq, seal FROM ~heads WHERE replica = $1").bind(link.replica());
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| head(row).map(|head| (head.book, head))).collect()
}

async fn insert(link: &Link, connection: &mut PgConnection, batch: &Batch<'_, '_>) -> Result<(), sqlx::Error> {
    let rows = &batch.rows;
    let texts = |of: for<'x> fn(&Row<'x>) -> &'x str| -> Vec<String> {
        rows.iter().map(|(row, ..)| of(row).to_owned()).collect()
    };
    let maybe = |of: for<'x> fn(&Row<'x>) -> Option<&'x str>| -> Vec<Option<String>> {
        rows.iter().map(|(row, ..)| of(row).map(str::to_owned)).collect()
    };
    let subjects = rows.iter().map(|(row, ..)| row.subject.and_then(|digits| digits.get(..SUBJECT_DIGITS)));
    let query = link.sql().query(INSERT).bind(link.replica()).bind(texts(|row| row.id));
    let query = query.bind(rows.iter().map(|(_, _, head)| head.book.name()).collect::<Vec<_>>());
    let query = query.bind(rows.iter().map(|(_, _, head)| head.seq).collect::<Vec<_>>());
    let query = query.bind(rows.iter().map(|(_, _, head)| head.seal.0.to_vec()).collect::<Vec<_>>());
    let query = query.bind(texts(|row| row.text)).bind(texts(|row| row.kind));
    let query = query.bind(rows.iter().map(|(row, ..)| row.at_ms).collect::<Vec<_>>());
    let query = query.bind(texts(|row| row.client)).bind(texts(|row| row.outcome));
    let query = query.bind(subjects.map(|digits| digits.map(str::to_owned)).collect::<Vec<Option<String>>>());
    let query = query.bind(maybe(|row| row.provider)).bind(maybe(|row| row.flight)).bind(maybe(|row| row.reference));
    let query = query.bind(maybe(|row| row.billed)).bind(maybe(|row| row.reason));
    let query = query.bind(rows.iter().map(|(row, ..)| row.price_micro_yuan).collect::<Vec<_>>());
    let written = query.execute(connection).await?.rows_affected();
    // Somebody else has written one of them meanwhile: the seals are wrong. The next try finds it.
    all_of(written, rows.len())
}

async fn advance(link: &Link, connection: &mut PgConnection, batch: &Batch<'_, '_>) -> Result<(), sqlx::Error> {
    for (book, (before, head)) in &batch.heads {
        let after = batch.after.get(book).filter(|_| before.is_none());
        let query = link.sql().query(ADVANCE).bind(link.replica()).bind(book.name()).bind(head.seq);
        let query = query.bind(head.seal.0.to_vec()).bind(after.map(|after| after.book.name()));
        let query = query.bind(after.map(|after| after.seq)).bind(after.map(|after| after.seal.0.to_vec()));
        let query = query.bind(before.map_or(0, |before| before.seq));
        all_of(query.execute(&mut *connection).await?.rows_affected(), 1)?;
    }
    Ok(())
}

fn all_of(written: u64, expected: usize) -> Result<(), sqlx::Error> {
    if written == expected as u64 {
        return Ok(());
    }
    Err(sqlx::Error::Protocol("another process writes the books of this replica".to_owned()))
}

fn uuids(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
