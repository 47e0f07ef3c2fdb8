//! The read side of PostgreSQL: look-ups, pages, sums and the past of people, over the entries of all replicas.

use sqlx::postgres::{PgRow, Postgres};
use sqlx::{QueryBuilder, Row as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::entry::{Answer, Call, Entry, Operation, Subject};
use super::super::error::ReadError;
use super::super::id_times::{LONGEST_QUESTION_MS, first_id};
use super::super::queries::{LONGEST_WALK, PART, Wanted};
use super::super::recent::{self, MOST_ANSWERS, Names, Past, Point, Recent, Since};
use super::super::spent::{Counted, OnDay, Spent};
use super::super::sums::{day_of, start_of};
use super::books::Book;
use super::link::Link;
use super::rows::{SUBJECT_DIGITS, entry};

/// A replica whose entries have waited for so long is behind.
const BEHIND_MS: i64 = 10_000;

const SPENT: &str = "SELECT client, provider, sum(calls)::bigint AS calls, sum(micro_yuan)::bigint AS micro_yuan, \
                     coalesce(sum(calls) FILTER (WHERE day >= $2), 0)::bigint AS calls_today, \
                     coalesce(sum(micro_yuan) FILTER (WHERE day >= $2), 0)::bigint AS micro_yuan_today \
                     FROM ~daily WHERE day >= $1 AND (replica = $3) = $4 GROUP BY client, provider \
                     ORDER BY client, provider";

const SPENT_BY_DAY: &str = "SELECT day, provider, sum(calls)::bigint AS calls, sum(micro_yuan)::bigint AS micro_yuan \
                            FROM ~daily WHERE day >= $1 GROUP BY day, provider ORDER BY day, provider";

const COUNTED: &str = "SELECT day, provider, used_up, sum(billed)::bigint AS billed FROM ~daily \
                       WHERE day >= $1 AND day < $2 GROUP BY day, provider, used_up ORDER BY day, provider, used_up";

/// The connections for look-ups.
#[derive(Debug, Clone)]
pub(in super::super) struct Reader {
    link: Link,
}

/// A page of answers, newest first, and the id below which the next one begins.
type Page = (Vec<Answer>, Option<Uuid>);

impl Reader {
    pub(in super::super) const fn new(link: Link) -> Self {
        Self { link }
    }

    pub(in super::super) const fn link(&self) -> &Link {
        &self.link
    }

    pub(in super::super) async fn answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT body FROM ~entries WHERE id = $1::uuid AND kind = 'answer'";
        let query = self.link.sql().query(text).bind(id.to_string());
        let row = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?.pop();
        Ok(row.as_ref().map(answer).transpose()?)
    }

    /// The entry's place and its seal: `REPLICA/MONTH/NUMBER=SEAL`.
    pub(in super::super) async fn seal(&self, id: Uuid) -> Result<Option<String>, ReadError> {
        let pools = self.link.pools()?;
        let query = self.link.sql().query("SELECT replica, seq, seal FROM ~entries WHERE id = $1::uuid");
        let query = query.bind(id.to_string());
        let row = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?.pop();
        let line = |row: &PgRow| {
            let (replica, number) = (row.try_get::<&str, _>("replica")?, row.try_get::<i64, _>("seq")?);
            let month = Book::of(id).map_or(0, Book::name);
            Ok(format!("{replica}/{month}/{number}={}", hex::encode(row.try_get::<&[u8], _>("seal")?)))
        };
        row.as_ref().map(line).transpose().map_err(|error: sqlx::Error| error.into())
    }

    /// The calls of a flight, in the order in which they began.
    pub(in super::super) async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT body FROM ~entries WHERE flight = $1::uuid AND kind = 'call' ORDER BY at_ms, id";
        let query = self.link.sql().query(text).bind(flight.to_string());
        let rows = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?;
        let mut calls = Vec::new();
        for row in &rows {
            if let Entry::Call(call) = entry(row)? {
                calls.push(call);
            }
        }
        Ok(calls)
    }

    /// At most `most` answers below this id. Looks at `rows` entries or a little more, and says where to go on.
    pub(in super::super) async fn answers(
        &self,
        wanted: &Wanted,
        below: Option<Uuid>,
        most: usize,
        rows: usize,
    ) -> Result<Page, ReadError> {
        let pools = self.link.pools()?;
        let until = Instant::now() + LONGEST_WALK;
        let mut below = below.unwrap_or(Uuid::max());
        let (mut found, mut seen) = (Vec::<Answer>::new(), 0);
        loop {
            let mut part = self.part(wanted, below);
            let part = self.link.sql().rows(&pools.lookups, part.build().persistent(false));
            let part = self.link.read(&pools, part).await?;
            for row in &part {
                below = id(row)?;
                if row.try_get::<Option<&str>, _>("body")?.is_none() {
                    continue;
                }
                let answer = answer(row)?;
                // The column has the first digits only.
                if wanted.subject.is_some() && wanted.subject != answer.subject.as_ref().map(|one| one.digest.clone()) {
                    continue;
                }
                if found.len() >= most {
                    let last = found.last().map(|last| last.id);
                    return Ok((found, last));
                }
                found.push(answer);
            }
            seen += part.len();
            if part.len() < PART {
                return Ok((found, None));
            }
            if seen >= rows || Instant::now() >= until {
                return Ok((found, Some(below)));
            }
        }
    }

    /// The next entries of a walk: the first conditions choose which are read, and each choice has an index; the others
    /// choose whose text is wanted, so that a filter does not lead to a longer walk.
    fn part(&self, wanted: &Wanted, below: Uuid) -> QueryBuilder<Postgres> {
        let Wanted { client, reference, subject, .. } = wanted;
        let mut query = QueryBuilder::<Postgres>::new("SELECT id::text AS id, CASE WHEN kind = 'answer'");
        wanted.conditions(&mut query);
        query.push(" THEN body END AS body FROM ").push(self.link.sql().text("~entries").as_str());
        query.push(" WHERE id < ").push_bind(below.to_string()).push("::uuid");
        if let Some(digest) = subject {
            let start: String = digest.chars().take(SUBJECT_DIGITS).collect();
            query.push(" AND subject IS NOT NULL AND kind <> 'call' AND subject = decode(");
            query.push_bind(start).push(", 'hex')");
        } else if let Some(reference) = reference {
            query.push(" AND reference = ").push_bind(reference.clone());
        } else if let Some(client) = client {
            query.push(" AND kind = 'answer' AND client = ").push_bind(client.clone());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(PART as i64);
        query
    }

    /// What this replica has spent, or all others together. The times must be starts of days in China.
    pub(in super::super) async fn spent(
        &self,
        month_ms: i64,
        day_ms: i64,
        is_ours: bool,
    ) -> Result<Vec<Spent>, ReadError> {
        let pools = self.link.pools()?;
        let query = self.link.sql().query(SPENT).bind(day_of(month_ms)).bind(day_of(day_ms));
        let query = query.bind(self.link.replica()).bind(is_ours);
        let rows = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?;
        let spent = |row: &PgRow| {
            let sum = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
            Ok(Spent {
                client: row.try_get("client")?,
                provider: row.try_get("provider")?,
                calls_today: sum("calls_today")?,
                micro_yuan_today: sum("micro_yuan_today")?,
                calls: sum("calls")?,
                micro_yuan: sum("micro_yuan")?,
            })
        };
        rows.iter().map(spent).collect::<Result<_, sqlx::Error>>().map_err(Into::into)
    }

    pub(in super::super) async fn spent_by_day(&self, from_ms: i64) -> Result<Vec<OnDay>, ReadError> {
        let pools = self.link.pools()?;
        let query = self.link.sql().query(SPENT_BY_DAY).bind(day_of(from_ms));
        let rows = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?;
        let on_day = |row: &PgRow| {
            Ok(OnDay {
                start_ms: start_of(row.try_get("day")?),
                provider: row.try_get("provider")?,
                calls: row.try_get::<i64, _>("calls")?.unsigned_abs(),
                micro_yuan: row.try_get::<i64, _>("micro_yuan")?.unsigned_abs(),
            })
        };
        rows.iter().map(on_day).collect::<Result<_, sqlx::Error>>().map_err(Into::into)
    }

    /// The times must be starts of days in China, or the end of time.
    pub(in super::super) async fn counted(
        &self,
        (from_ms, until_ms): (i64, i64),
        mut each: impl FnMut(Counted<'_>),
    ) -> Result<(), ReadError> {
        let pools = self.link.pools()?;
        let query = self.link.sql().query(COUNTED).bind(day_of(from_ms)).bind(day_of(until_ms));
        for row in &self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await? {
            let (at_ms, provider) = (start_of(row.try_get("day")?), row.try_get("provider")?);
            if row.try_get("used_up")? {
                each(Counted { at_ms, provider, calls: 1, is_billed: false });
            }
            let calls = row.try_get::<i64, _>("billed")?.unsigned_abs();
            if calls > 0 {
                each(Counted { at_ms, provider, calls, is_billed: true });
            }
        }
        Ok(())
    }

    /// The replicas whose latest entries the record may lack, with the time up to which it has them all, in milliseconds
    /// since 1970.
    pub(in super::super) async fn behind(&self) -> Result<Vec<(String, i64)>, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT replica, level_ms FROM ~replicas WHERE level_ms < (extract(epoch FROM clock_timestamp()) * \
                    1000)::bigint - $1 ORDER BY replica";
        let query = self.link.sql().query(text).bind(BEHIND_MS);
        let rows = self.link.read(&pools, self.link.sql().rows(&pools.lookups, query)).await?;
        let of = |row: &PgRow| Ok((row.try_get("replica")?, row.try_get("level_ms")?));
        rows.iter().map(of).collect::<Result<_, sqlx::Error>>().map_err(Into::into)
    }

    pub(in super::super) async fn last_isolation(&self, provider: &str) -> Result<Option<Operation>, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT body FROM ~entries WHERE kind = 'operation' AND provider = $1 \
                    AND outcome IN ('isolated', 'restored') ORDER BY id DESC LIMIT 1";
        let query = self.link.sql().query(text).bind(provider);
        let row = self.link.read(&pools, self.link.sql().rows(&pools.keys, query)).await?.pop();
        match row.as_ref().map(entry).transpose()? {
            Some(Entry::Operation(operation)) => Ok(Some(operation)),
            _ => Ok(None),
        }
    }

    /// The place from which entries are at `from_ms` or later; `None` if there is no entry.
    pub(in super::super) async fn since(&self, from_ms: i64) -> Result<Option<Since>, ReadError> {
        let pools = self.link.pools()?;
        let newest = self.link.sql().query("SELECT at_ms FROM ~entries ORDER BY id DESC LIMIT 1");
        let Some(newest) = self.link.read(&pools, self.link.sql().rows(&pools.keys, newest)).await?.pop() else {
            return Ok(None);
        };
        let first = from_ms.saturating_sub(LONGEST_QUESTION_MS);
        Ok(Some(Since { from_ms, newest_ms: newest.try_get("at_ms")?, first }))
    }

    /// What is recorded since `since` about all people known under this digest key. The newest entries come first, and
    /// the walk has a bound.
    pub(in super::super) async fn recent(&self, since: Since, key_id: &str) -> Result<Recent, ReadError> {
        let pools = self.link.pools()?;
        let text = "SELECT id::text AS id, CASE WHEN kind IN ('call', 'forgotten') OR (kind = 'answer' AND flight IS \
                    NOT NULL) THEN body END AS body FROM ~entries WHERE id < $1::uuid AND id >= $2::uuid \
                    ORDER BY id DESC LIMIT $3";
        let until = Instant::now() + recent::LONGEST_WALK;
        let (mut recent, mut names) = (Recent::default(), Names::default());
        let (mut below, mut rows, mut kept) = (Uuid::max(), 0, 0);
        loop {
            let part = self.link.sql().query(text).bind(below.to_string()).bind(first_id(since.first).to_string());
            let part = self.link.sql().rows(&pools.lookups, part.bind(PART as i64));
            let part = self.link.read(&pools, part).await?;
            for row in &part {
                below = id(row)?;
                if row.try_get::<Option<&str>, _>("body")?.is_some() {
                    // Without numbers: what each replica wrote is in an order of its own, so times decide.
                    kept += usize::from(recent.add(None, &entry(row)?, since.from_ms, key_id, &mut names));
                }
            }
            rows += part.len();
            recent.is_complete = part.len() < PART;
            let is_enough = rows >= recent::MOST_ROWS || kept >= recent::MOST_KEPT || Instant::now() >= until;
            if recent.is_complete || is_enough {
                recent.people.values_mut().for_each(Past::settle);
                return Ok(recent);
            }
            // Whoever looks something up comes first.
            tokio::task::yield_now().await;
        }
    }

    /// What is recorded since `since` about one person.
    pub(in super::super) async fn recent_about(&self, since: Since, subject: &Subject) -> Result<Past, ReadError> {
        let pools = self.link.pools()?;
        let (mut past, mut names) = (Past::default(), Names::default());
        let text = "SELECT body FROM ~entries WHERE subject IS NOT NULL AND kind <> 'call' AND kind = $1 \
                    AND subject = decode($2, 'hex') AND id >= $3::uuid ORDER BY id DESC LIMIT $4";
        let start: String = subject.digest.chars().take(SUBJECT_DIGITS).collect();
        let find = |kind: &'static str, first: Uuid, most: i64| {
            let query = self.link.sql().query(text).bind(kind).bind(start.clone()).bind(first.to_string());
            self.link.sql().rows(&pools.keys, query.bind(most))
        };
        let first = first_id(since.first);
        for row in &self.link.read(&pools, find("answer", first, MOST_ANSWERS)).await? {
            match entry(row)? {
                Entry::Answer(answer) if answer.subject.as_ref() == Some(subject) => past.answered(&answer, &mut names),
                _ => {}
            }
        }
        for id in past.flights.iter().map(|flight| flight.id).collect::<Vec<_>>() {
            for call in self.calls(id).await? {
                past.called(None, &call, &mut names);
            }
        }
        for row in &self.link.read(&pools, find("forgotten", Uuid::nil(), 1)).await? {
            if let Entry::Forgotten(forgotten) = entry(row)? {
                past.forgotten = Some(Point { seq: i64::MIN, at_ms: forgotten.at_ms });
            }
        }
        past.settle();
        Ok(past)
    }
}

pub(super) fn id(row: &PgRow) -> Result<Uuid, sqlx::Error> {
    Uuid::try_parse(row.try_get("id")?).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn answer(row: &PgRow) -> Result<Answer, sqlx::Error> {
    match entry(row)? {
        Entry::Answer(answer) => Ok(answer),
        _ => Err(sqlx::Error::Decode("something else where an answer was looked for".into())),
    }
}
