//! Idempotency keys: a row for each, which all replicas see. It is written before anything is called.
//!
//! Invariant: one of all who claim a key at once gets it. The entries of the ledger only fill in what a failover lost.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::claims::Claimed;
use super::super::entry::{Answer, Claim, Entry, Subject};
use super::super::error::ReadError;
use super::super::record::{self, Row};
use super::link::Link;
use super::rows::{entry, only};
use super::sql::Sql;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// For how long a key is kept.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// A replica that was silent for so long is taken for dead, and its keys are taken over.
const SILENT_FOR: Duration = Duration::from_secs(10);

const CLAIM: &str = "INSERT INTO ~claims AS c (key, id, at_ms, subject, body, replica) \
                     VALUES (decode($1, 'hex'), $2::uuid, $3, decode($4, 'hex'), $5, $6) \
                     ON CONFLICT (key) DO UPDATE SET id = excluded.id, at_ms = excluded.at_ms, \
                     subject = excluded.subject, body = excluded.body, replica = excluded.replica, term = 0, \
                     answer = NULL WHERE c.at_ms < $7 OR c.id = $8::uuid";

const FIND: &str = "SELECT c.body, c.answer, c.term, c.replica, coalesce(r.seen_ms < \
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $3, true) AS is_silent \
     FROM ~claims c LEFT JOIN ~replicas r ON r.replica = c.replica WHERE key = decode($1, 'hex') AND at_ms >= $2";

/// Also by the replica that holds it already, so that it is not given back for a request that has ended meanwhile.
const TAKE_OVER: &str = "UPDATE ~claims SET replica = $3, term = term + 1 \
                         WHERE key = decode($1, 'hex') AND term = $2 AND answer IS NULL";

const FILL_IN: &str = "INSERT INTO ~claims (key, id, at_ms, subject, body, replica) \
     SELECT decode(key, 'hex'), id::uuid, at_ms, decode(subject, 'hex'), body, $1 \
     FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[]) AS t (key, id, at_ms, subject, body) \
     WHERE NOT EXISTS (SELECT 1 FROM ~forgotten f WHERE f.person = decode(t.subject, 'hex') AND f.at_ms >= t.at_ms) \
     ON CONFLICT DO NOTHING";

const FINISH: &str = "UPDATE ~claims c SET answer = t.answer FROM unnest($1::text[], $2::text[]) AS t (id, answer) \
                      WHERE c.id = t.id::uuid AND c.answer IS NULL";

/// The claim on a key that was made at `not_before_ms` (milliseconds since 1970) or later. One of a replica that is
/// dead becomes this replica's.
pub(in super::super) async fn claimed(
    link: &Link,
    key: &Digest,
    not_before_ms: i64,
) -> Result<Option<Claimed>, ReadError> {
    let pools = link.pools()?;
    let silent_ms = i64::try_from(SILENT_FOR.as_millis()).unwrap_or(i64::MAX);
    let find = link.sql().query(FIND).bind(key.to_hex()).bind(not_before_ms).bind(silent_ms);
    let Some(row) = link.read(&pools, link.sql().rows(&pools.keys, find)).await?.pop() else { return Ok(None) };
    let Entry::Claim(claim) = entry(&row)? else {
        return Err(sqlx::Error::Decode("something else where a claim was looked for".into()).into());
    };
    let answer = row.try_get::<Option<&str>, _>("answer")?.map(answer_of).transpose()?;
    let term: i32 = row.try_get("term")?;
    if answer.is_some() {
        return Ok(Some(Claimed { claim, answer, is_elsewhere: false, term }));
    }
    let is_ours = row.try_get::<&str, _>("replica")? == link.replica();
    let mut is_elsewhere = true;
    if is_ours || row.try_get("is_silent")? {
        let take_over = link.sql().query(TAKE_OVER).bind(key.to_hex()).bind(term).bind(link.replica());
        is_elsewhere = link.read(&pools, link.sql().run(&pools.keys, take_over)).await? == 0;
    }
    Ok(Some(Claimed { claim, answer, is_elsewhere, term: term.saturating_add(1) }))
}

/// Gives a key back that has no answer, so that any replica may take it.
pub(in super::super) async fn release(link: &Link, claim: Uuid, term: i32) -> Result<(), ReadError> {
    let pools = link.pools()?;
    let text = "UPDATE ~claims SET replica = '' WHERE id = $1::uuid AND replica = $2 AND term = $3 AND answer IS NULL";
    let query = link.sql().query(text).bind(claim.to_string()).bind(link.replica()).bind(term);
    link.read(&pools, link.sql().run(&pools.keys, query)).await.map(drop)
}

/// Claims the key; whether it was free. A claim before `not_before_ms` (milliseconds since 1970), and the one that is to
/// be `replaced`, leave it free.
pub(in super::super) async fn claim(
    link: &Link,
    claim: &Claim,
    not_before_ms: i64,
    replaced: Option<Uuid>,
) -> Result<bool, ReadError> {
    let text = record::text(&Entry::Claim(claim.clone())).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let pools = link.pools()?;
    let query = link.sql().query(CLAIM).bind(&claim.key).bind(claim.id.to_string()).bind(claim.at_ms);
    let query = query.bind(&claim.subject.digest).bind(text).bind(link.replica()).bind(not_before_ms);
    let query = query.bind(replaced.map(|id| id.to_string()));
    Ok(link.read(&pools, link.sql().run(&pools.keys, query)).await? == 1)
}

/// Finishes the claim of this answer, for all replicas.
pub(in super::super) async fn finish(link: &Link, answer: &Answer) -> Result<(), ReadError> {
    let Some(claim) = answer.claim else { return Ok(()) };
    let text = record::text(&Entry::Answer(answer.clone())).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let pools = link.pools()?;
    let query = link.sql().query(FINISH).bind(vec![claim.to_string()]).bind(vec![text]);
    link.read(&pools, link.sql().run(&pools.keys, query)).await.map(drop)
}

/// How many keys were claimed for this person at `not_before_ms` or later.
pub(in super::super) async fn claims_about(
    link: &Link,
    subject: &Subject,
    not_before_ms: i64,
) -> Result<usize, ReadError> {
    let pools = link.pools()?;
    let text = "SELECT count(*) FROM ~claims WHERE subject = decode($1, 'hex') AND at_ms >= $2";
    let query = link.sql().query(text).bind(&subject.digest).bind(not_before_ms);
    let row = only(link.read(&pools, link.sql().rows(&pools.keys, query)).await?)?;
    Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default())
}

/// Ends all claims about a person, and tells the other replicas.
pub(in super::super) async fn forget(link: &Link, subject: &Subject, at_ms: i64) -> Result<(), ReadError> {
    let pools = link.pools()?;
    // One statement: a caller may leave in the middle.
    let text = "WITH gone AS (DELETE FROM ~claims WHERE subject = decode($1, 'hex')) \
                INSERT INTO ~forgotten (at_ms, person) VALUES ($2, decode($1, 'hex')) RETURNING n";
    let query = link.sql().query(text).bind(&subject.digest).bind(at_ms);
    let row = only(link.read(&pools, link.sql().rows(&pools.keys, query)).await?)?;
    link.forgot(row.try_get(0)?);
    Ok(())
}

/// The people that were forgotten after number `after`, in order, with their numbers; without `after`, only where to
/// begin.
pub(in super::super) async fn forgotten(link: &Link, after: Option<i64>) -> Result<(i64, Vec<Digest>), ReadError> {
    let pools = link.pools()?;
    let Some(after) = after else {
        let query = link.sql().query("SELECT coalesce(max(n), 0) FROM ~forgotten");
        let row = only(link.read(&pools, link.sql().rows(&pools.keys, query)).await?)?;
        return Ok((row.try_get(0)?, Vec::new()));
    };
    let text = "SELECT n, encode(person, 'hex') AS person FROM ~forgotten WHERE n > $1 ORDER BY n";
    let query = link.sql().query(text).bind(after);
    let rows = link.read(&pools, link.sql().rows(&pools.keys, query)).await?;
    let mut last = after;
    let mut people = Vec::new();
    for row in &rows {
        last = row.try_get("n")?;
        if link.has_forgotten(last) {
            continue;
        }
        people.extend(Digest::from_hex(row.try_get("person")?));
    }
    Ok((last, people))
}

/// Fills in, from entries that move, what a failover lost, and finishes claims whose answer was told while the server was
/// away.
pub(super) async fn moved(
    connection: &mut PgConnection,
    sql: &Sql,
    replica: &str,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    let claims: Vec<_> = rows.iter().filter_map(|row| Some((row, row.key?, row.subject?))).collect();
    if !claims.is_empty() {
        let of = |text: fn(&(&Row<'_>, &str, &str)) -> String| claims.iter().map(text).collect::<Vec<_>>();
        let query = sql.query(FILL_IN).bind(replica).bind(of(|(_, key, _)| (*key).to_owned()));
        let query = query.bind(of(|(row, ..)| row.id.to_owned()));
        let query = query.bind(claims.iter().map(|(row, ..)| row.at_ms).collect::<Vec<_>>());
        let query = query.bind(of(|(_, _, subject)| (*subject).to_owned())).bind(of(|(row, ..)| row.text.to_owned()));
        query.execute(&mut *connection).await?;
    }
    let is_verdict = |row: &&Row<'_>| Verdict::ALL.iter().any(|verdict| verdict.as_str() == row.outcome);
    let answers = rows.iter().filter(is_verdict).filter_map(|row| Some((row.claim?.to_owned(), row.text.to_owned())));
    let (ids, texts): (Vec<String>, Vec<String>) = answers.unzip();
    if !ids.is_empty() {
        sql.query(FINISH).bind(ids).bind(texts).execute(connection).await?;
    }
    Ok(())
}

/// Drops claims that are too old to count.
pub(super) async fn remove_old(connection: &mut PgConnection, sql: &Sql, at_ms: i64) -> Result<(), sqlx::Error> {
    let query = sql.query("DELETE FROM ~claims WHERE at_ms < $1").bind(at_ms.saturating_sub(2 * KEPT_MS));
    query.execute(connection).await.map(drop)
}

fn answer_of(text: &str) -> Result<Answer, sqlx::Error> {
    match serde_json::from_str(text) {
        Ok(Entry::Answer(answer)) => Ok(answer),
        Ok(_) => Err(sqlx::Error::Decode("something else where an answer was looked for".into())),
        Err(error) => Err(sqlx::Error::Decode(Box::new(error))),
    }
}
