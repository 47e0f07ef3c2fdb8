//! What was paid for recently, by person: with it a new process remembers what the one before it knew.
//!
//! Only entries from before this process matter, and those are in the database: a start moves the spool first. A person
//! who was forgotten has no past: neither what is recorded before that, nor a flight that was under way then.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use tokio::time::Instant;
use uuid::Uuid;

use super::database::entry;
use super::entry::{Answer, Call, Entry, Subject};
use super::queries::{PART, Reader, SPANS};
use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};

/// How many entries a walk reads, how many calls and answers it keeps, and how long it may take.
pub(super) const MOST_ROWS: usize = 500_000;
pub(super) const MOST_KEPT: usize = 200_000;
pub(super) const LONGEST_WALK: Duration = Duration::from_secs(30);

/// How many answers about one person a look-up reads.
pub(super) const MOST_ANSWERS: i64 = 64;

/// From which entry on the past matters.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// In milliseconds since 1970.
    pub from_ms: i64,
    /// When the newest entry happened.
    pub newest_ms: i64,
    /// The number of the first entry that matters.
    pub(super) first: i64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Recent {
    pub people: HashMap<Digest, Past>,
    /// Whether the walk reached the first entry that matters.
    pub is_complete: bool,
}

/// What is recorded about one person.
#[derive(Debug, Default)]
pub struct Past {
    pub flights: Vec<PastFlight>,
    pub(super) forgotten: Option<Point>,
}

/// One flight, with as much of it as matters later.
#[derive(Debug)]
pub struct PastFlight {
    pub(super) id: Uuid,
    pub client: Arc<str>,
    pub purpose: Arc<str>,
    /// The verification that it answered, if one is recorded.
    pub verification: Option<Uuid>,
    /// The verdict that its callers got.
    pub told: Option<PastVerdict>,
    /// In the order in which they ended.
    pub calls: Vec<PastCall>,
}

#[derive(Debug, Clone)]
pub struct PastVerdict {
    pub verdict: Verdict,
    pub provider: Arc<str>,
    pub request_id: Option<RequestId>,
    /// When the provider gave it, in milliseconds since 1970.
    pub at_ms: i64,
}

#[derive(Debug, Clone)]
pub struct PastCall {
    /// The number of its entry; `None` if it was read without one.
    seq: Option<i64>,
    pub provider: Arc<str>,
    /// In milliseconds since 1970.
    pub began_ms: i64,
    pub ended_ms: i64,
    pub verdict: Option<Verdict>,
    pub request_id: Option<RequestId>,
    pub is_billed: bool,
    /// Whether the provider refused the person as asked for too often.
    pub is_throttled: bool,
    /// Whether anything was sent.
    pub was_sent: bool,
}

/// A place in the ledger, and its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) seq: i64,
    pub(super) at_ms: i64,
}

/// Names recur, so each is kept once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name = Arc::<str>::from(name);
        self.0.insert(Arc::clone(&name));
        name
    }
}

impl Past {
    /// The flight with this id, which is new if it was not known.
    fn flight(&mut self, id: Uuid, client: &str, purpose: &str, names: &mut Names) -> Option<&mut PastFlight> {
        if !self.flights.iter().any(|flight| flight.id == id) {
            let (client, purpose) = (names.of(client), names.of(purpose));
            self.flights.push(PastFlight { id, client, purpose, verification: None, told: None, calls: Vec::new() });
        }
        self.flights.iter_mut().find(|flight| flight.id == id)
    }

    pub(super) fn answered(&mut self, answer: &Answer, names: &mut Names) {
        let Some(id) = answer.flight else { return };
        let told = told(answer, names);
        if let Some(flight) = self.flight(id, &answer.client, &answer.purpose, names)
            && (flight.told.is_none() || told.is_some())
        {
            (flight.verification, flight.told) = (Some(answer.id), told);
        }
    }

    pub(super) fn called(&mut self, seq: Option<i64>, call: &Call, names: &mut Names) {
        let past = PastCall {
            seq,
            provider: names.of(&call.provider),
            began_ms: call.at_ms.saturating_sub(i64::try_from(call.end.duration_ms).unwrap_or(i64::MAX)),
            ended_ms: call.at_ms,
            verdict: call.end.verdict.as_deref().and_then(verdict),
            request_id: call.end.provider_request_id.as_deref().and_then(RequestId::parse),
            is_billed: call.end.billed == Billed::Yes.as_str(),
            is_throttled: call.end.outcome == Outcome::SubjectThrottled.as_str(),
            was_sent: call.end.reason.as_deref() != Some(Reason::NoCredential.as_str()),
        };
        if let Some(flight) = self.flight(call.flight, &call.client, &call.purpose, names) {
            flight.calls.push(past);
        }
    }

    /// Drops every flight that began before the person was forgotten, and puts the rest in order.
    pub(super) fn settle(&mut self) {
        if let Some(Point { seq, at_ms }) = self.forgotten {
            let was_before = |call: &PastCall| call.began_ms <= at_ms || call.seq.is_some_and(|of| of < seq);
            // A flight without calls is known by an answer only, which does not say when its provider was asked.
            self.flights.retain(|flight| !flight.calls.is_empty() && !flight.calls.iter().any(was_before));
        }
        for flight in &mut self.flights {
            flight.calls.sort_by_key(|call| call.ended_ms);
        }
    }
}

impl Reader {
    /// The place from which entries are at `from_ms` or later; `None` if there is no entry.
    pub(super) async fn since(&self, from_ms: i64) -> Result<Option<Since>, sqlx::Error> {
        // After the last call before that: a question whose caller left is recorded before its call has ended.
        let text = "SELECT seq FROM entries WHERE kind = 'call' AND at_ms < $1 ORDER BY at_ms DESC LIMIT 1";
        let before = sqlx::query(text).bind(from_ms).fetch_optional(self.keys()).await?;
        let newest = sqlx::query("SELECT at_ms FROM entries ORDER BY seq DESC LIMIT 1");
        let Some(newest) = newest.fetch_optional(self.keys()).await? else { return Ok(None) };
        let first = before.map_or(Ok(0), |before| before.try_get("seq"))?;
        Ok(Some(Since { from_ms, newest_ms: newest.try_get("at_ms")?, first }))
    }

    /// What is recorded since `since` about all people known under this digest key. The newest entries come first, and
    /// the walk has a bound.
    pub(super) async fn recent(&self, since: Since, key_id: &str) -> Result<Recent, sqlx::Error> {
        let text = "SELECT seq, CASE WHEN kind IN ('call', 'forgotten') OR (kind = 'answer' AND flight IS NOT NULL) \
                    THEN body END AS body FROM entries WHERE seq < $1 AND seq >= $2 ORDER BY seq DESC LIMIT $3";
        let until = Instant::now() + LONGEST_WALK;
        let (mut recent, mut names) = (Recent::default(), Names::default());
        let (mut below, mut rows, mut kept) = (i64::MAX, 0, 0);
        loop {
            let part = sqlx::query(text).bind(below).bind(since.first).bind(PART as i64).fetch_all(self.pool()).await?;
            for row in &part {
                below = row.try_get("seq")?;
                if row.try_get::<Option<&str>, _>("body")?.is_some() {
                    kept += usize::from(recent.add(Some(below), &entry(row)?, since.from_ms, key_id, &mut names));
                }
            }
            rows += part.len();
            recent.is_complete = part.len() < PART;
            if recent.is_complete || rows >= MOST_ROWS || kept >= MOST_KEPT || Instant::now() >= until {
                recent.people.values_mut().for_each(Past::settle);
                return Ok(recent);
            }
            // Whoever looks something up comes first.
            tokio::task::yield_now().await;
        }
    }

    /// What is recorded since `since` about one person.
    pub(super) async fn recent_about(&self, since: Since, subject: &Subject) -> Result<Past, sqlx::Error> {
        let (mut past, mut names) = (Past::default(), Names::default());
        let text = format!(
            "{SPANS}SELECT seq, body FROM spans CROSS JOIN entries WHERE spans.span >= $1 >> 14 \
             AND entries.span = spans.span AND kind = 'answer' AND seq >= $1 AND subject_start = $2 AND subject = $3 \
             ORDER BY seq DESC LIMIT $4"
        );
        let start: String = subject.digest.chars().take(8).collect();
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(since.first).bind(start).bind(&subject.digest);
        let rows = query.bind(MOST_ANSWERS).fetch_all(self.keys()).await?;
        for row in &rows {
            match entry(row)? {
                Entry::Answer(answer) if answer.subject.as_ref() == Some(subject) => past.answered(&answer, &mut names),
                _ => {}
            }
        }
        for id in past.flights.iter().map(|flight| flight.id).collect::<Vec<_>>() {
            for call in self.calls_through(self.keys(), id).await? {
                past.called(None, &call, &mut names);
            }
        }
        let text = "SELECT seq, at_ms FROM entries WHERE kind = 'forgotten' AND subject = $1 ORDER BY seq DESC LIMIT 1";
        if let Some(row) = sqlx::query(text).bind(&subject.digest).fetch_optional(self.keys()).await? {
            past.forgotten = Some(Point { seq: row.try_get("seq")?, at_ms: row.try_get("at_ms")? });
        }
        past.settle();
        Ok(past)
    }
}

impl Recent {
    /// Adds an entry and returns whether it takes memory.
    pub(super) fn add(
        &mut self,
        seq: Option<i64>,
        entry: &Entry,
        from_ms: i64,
        key_id: &str,
        names: &mut Names,
    ) -> bool {
        let (subject, at_ms) = match entry {
            Entry::Call(call) => (Some(&call.subject), call.at_ms),
            Entry::Answer(answer) => (answer.subject.as_ref(), answer.at_ms),
            Entry::Forgotten(forgotten) => (Some(&forgotten.subject), forgotten.at_ms),
            Entry::Claim(_) | Entry::Removed(_) | Entry::Operation(_) => return false,
        };
        let Some(subject) = subject.filter(|subject| subject.key == key_id && at_ms >= from_ms) else { return false };
        let Some(person) = Digest::from_hex(&subject.digest) else { return false };
        let past = self.people.entry(person).or_default();
        match entry {
            // What comes now is older.
            Entry::Forgotten(_) => drop(past.forgotten.get_or_insert(Point { seq: seq.unwrap_or(i64::MIN), at_ms })),
            Entry::Call(call) => past.called(seq, call, names),
            Entry::Answer(answer) => past.answered(answer, names),
            Entry::Claim(_) | Entry::Removed(_) | Entry::Operation(_) => {}
        }
        true
    }
}

/// The verdict that an answer of a flight gave its caller.
fn told(answer: &Answer, names: &mut Names) -> Option<PastVerdict> {
    Some(PastVerdict {
        verdict: verdict(&answer.outcome)?,
        provider: names.of(answer.provider.as_deref()?),
        request_id: answer.provider_request_id.as_deref().and_then(RequestId::parse),
        at_ms: answer.verified_at_ms?,
    })
}

fn verdict(word: &str) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word)
}
