//! Sums of what calls have cost, by day in China. A start reads these instead of the calls, however many there are.
//!
//! Invariant: the sums are those of all calls up to the entry `summed`, and change in the transaction that appends
//! entries. They are not sealed: `ledger verify` compares them with the calls.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::entry::{Call, Entry};
use super::record::Row;
use crate::domain::outcome::Reason;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// China has no summer time.
const CHINA_MS: i64 = 8 * 60 * 60 * 1000;

const ADD: &str = "INSERT INTO spent_by_day (day, provider, client, used_up, calls, micro_yuan, billed) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (day, provider, client, used_up) DO UPDATE SET \
                   calls = spent_by_day.calls + excluded.calls, billed = spent_by_day.billed + excluded.billed, \
                   micro_yuan = spent_by_day.micro_yuan + excluded.micro_yuan";

/// Sums by day, provider and client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sums {
    all: BTreeMap<Key, Sum>,
    /// The days on which a provider has reported that its quota was used up.
    used_up: BTreeSet<(i64, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    day: i64,
    provider: String,
    client: String,
    used_up: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    /// Calls that brought a verdict or may be billed.
    calls: i64,
    /// Their cost, or their maximum cost if it is not known whether they are billed.
    micro_yuan: i64,
    /// Calls that were billed.
    billed: i64,
}

/// What a call adds to the sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts<'a> {
    at_ms: i64,
    provider: &'a str,
    client: &'a str,
    outcome: &'a str,
    billed: &'a str,
    reason: Option<&'a str>,
    price_micro_yuan: i64,
}

/// One of the sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) day: i64,
    pub(super) provider: String,
    pub(super) client: String,
    /// Whether the provider had reported before that its quota was used up on that day.
    pub(super) used_up: bool,
    pub(super) calls: i64,
    pub(super) micro_yuan: i64,
    pub(super) billed: i64,
}

impl<'a> From<&'a Call> for Counts<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            at_ms: call.at_ms,
            provider: &call.provider,
            client: &call.client,
            outcome: &call.end.outcome,
            billed: &call.end.billed,
            reason: call.end.reason.as_deref(),
            price_micro_yuan: i64::try_from(call.end.price_micro_yuan).unwrap_or(i64::MAX),
        }
    }
}

impl<'a> Counts<'a> {
    /// `None` if it is no call.
    fn of(row: &Row<'a>) -> Option<Self> {
        let &Row { at_ms, provider: Some(provider), client, outcome, billed: Some(billed), reason, .. } = row else {
            return None;
        };
        let price_micro_yuan = row.price_micro_yuan?;
        Some(Self { at_ms, provider, client, outcome, billed, reason, price_micro_yuan })
    }
}

/// The day in China, counted from 1970.
pub(super) const fn day_of(ms: i64) -> i64 {
    ms.saturating_add(CHINA_MS).div_euclid(DAY_MS)
}

/// The start of that day, in milliseconds since 1970.
pub(super) const fn start_of(day: i64) -> i64 {
    day.saturating_mul(DAY_MS).saturating_sub(CHINA_MS)
}

/// The days of the calls among these entries.
pub(super) fn days_of(rows: &[Row<'_>]) -> Vec<i64> {
    let days: BTreeSet<_> = rows.iter().filter_map(Counts::of).map(|call| day_of(call.at_ms)).collect();
    days.into_iter().collect()
}

impl Sums {
    /// Adds the calls among these entries, which come after all that were added before.
    pub(super) fn add_rows(&mut self, rows: &[Row<'_>]) {
        rows.iter().filter_map(Counts::of).for_each(|call| self.add(call));
    }

    /// Calls that are added from now on come after the one that used up the quota of that day.
    pub(super) fn is_used_up(&mut self, day: i64, provider: &str) {
        self.used_up.insert((day, provider.to_owned()));
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.all.iter().map(|(key, sum)| Line {
            day: key.day,
            provider: key.provider.clone(),
            client: key.client.clone(),
            used_up: key.used_up,
            calls: sum.calls,
            micro_yuan: sum.micro_yuan,
            billed: sum.billed,
        })
    }

    /// Adds a call that comes after all that were added before.
    pub(super) fn add(&mut self, call: Counts<'_>) {
        let day = day_of(call.at_ms);
        let of_day = (day, call.provider.to_owned());
        if call.reason == Some(Reason::QuotaUsedUp.as_str()) {
            self.used_up.insert(of_day.clone());
        }
        let used_up = self.used_up.contains(&of_day);
        let key = Key { day, provider: of_day.1, client: call.client.to_owned(), used_up };
        let sum = self.all.entry(key).or_default();
        if call.outcome == "verdict" || call.billed != "no" {
            sum.calls += 1;
            sum.micro_yuan = sum.micro_yuan.saturating_add(call.price_micro_yuan);
        }
        if call.billed == "yes" {
            sum.billed += 1;
        }
    }

    /// Compares these sums, which the database has, with those of its calls. After removals, the sums of days up to
    /// `removed_day` may include calls that are gone. Returns what is wrong first: day, provider and client.
    pub(super) fn difference(&self, calls: &Self, removed_day: Option<i64>) -> Option<(String, String, String)> {
        let zero = Sum::default();
        let is_wrong = |key: &&Key| {
            let (kept, real) = (self.all.get(*key).unwrap_or(&zero), calls.all.get(*key).unwrap_or(&zero));
            if removed_day.is_some_and(|removed| key.day <= removed) { false } else { kept != real }
        };
        let wrong = self.all.keys().chain(calls.all.keys()).find(is_wrong)?;
        let day = Timestamp::from_millisecond(wrong.day.saturating_mul(DAY_MS));
        let day = day.map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default();
        Some((day, wrong.provider.clone(), wrong.client.clone()))
    }
}

/// Whether the database has the tables; one of an earlier idgate has not.
pub(super) async fn exist(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let table = sqlx::query("SELECT name FROM sqlite_schema WHERE name = 'summed' AND type = 'table'");
    Ok(table.fetch_optional(connection).await?.is_some())
}

/// The last entry that the sums include.
pub(super) async fn summed(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("SELECT seq FROM summed").fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| row.try_get("seq"))
}

/// All sums, and the last entry that they include. Run it in a transaction.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<(Sums, i64), sqlx::Error> {
    let mut sums = Sums::default();
    for row in sqlx::query("SELECT * FROM spent_by_day").fetch_all(&mut *connection).await? {
        let used_up = row.try_get::<i64, _>("used_up")? == 1;
        let key = Key {
            day: row.try_get("day")?,
            provider: row.try_get("provider")?,
            client: row.try_get("client")?,
            used_up,
        };
        let (calls, micro_yuan, billed) = (row.try_get("calls")?, row.try_get("micro_yuan")?, row.try_get("billed")?);
        sums.all.insert(key, Sum { calls, micro_yuan, billed });
    }
    Ok((sums, summed(connection).await?))
}

/// Adds the calls among these entries, the last of which has the number `up_to`.
pub(super) async fn add(connection: &mut SqliteConnection, rows: &[Row<'_>], up_to: i64) -> Result<(), sqlx::Error> {
    let calls: Vec<_> = rows.iter().filter_map(Counts::of).collect();
    add_calls(connection, &calls, up_to).await
}

async fn add_calls(connection: &mut SqliteConnection, calls: &[Counts<'_>], up_to: i64) -> Result<(), sqlx::Error> {
    let mut sums = Sums::default();
    for day in calls.iter().map(|call| day_of(call.at_ms)).collect::<BTreeSet<_>>() {
        let known = sqlx::query("SELECT DISTINCT provider FROM spent_by_day WHERE day = $1 AND used_up = 1");
        for row in known.bind(day).fetch_all(&mut *connection).await? {
            sums.used_up.insert((day, row.try_get("provider")?));
        }
    }
    calls.iter().for_each(|call| sums.add(*call));
    for (Key { day, provider, client, used_up }, sum) in &sums.all {
        let query = sqlx::query(ADD).bind(day).bind(provider).bind(client).bind(i64::from(*used_up));
        query.bind(sum.calls).bind(sum.micro_yuan).bind(sum.billed).execute(&mut *connection).await?;
    }
    reach(connection, up_to).await
}

/// Records that the sums include all entries up to this one.
pub(super) async fn reach(connection: &mut SqliteConnection, up_to: i64) -> Result<(), sqlx::Error> {
    let text =
        "INSERT INTO summed (only_row, seq) VALUES (1, $1) ON CONFLICT (only_row) DO UPDATE SET seq = excluded.seq";
    sqlx::query(text).bind(up_to).execute(connection).await.map(drop)
}

/// Adds the calls of at most `most` entries that the sums lack. Returns whether there may be more. Run it in a
/// transaction.
pub(super) async fn catch_up(connection: &mut SqliteConnection, most: i64) -> Result<bool, sqlx::Error> {
    let from = summed(connection).await?;
    let rows = sqlx::query("SELECT seq, body FROM entries WHERE seq > $1 ORDER BY seq LIMIT $2");
    let rows = rows.bind(from).bind(most).fetch_all(&mut *connection).await?;
    let Some(last) = rows.last() else { return Ok(false) };
    let mut calls = Vec::new();
    for row in &rows {
        if let Ok(Entry::Call(call)) = serde_json::from_str(row.try_get("body")?) {
            calls.push(call);
        }
    }
    let counts: Vec<_> = calls.iter().map(Counts::from).collect();
    add_calls(connection, &counts, last.try_get("seq")?).await?;
    Ok(i64::try_from(rows.len()).is_ok_and(|count| count == most))
}

/// Drops the sums of the days before that of the newest entry that was removed.
pub(super) async fn forget_before(connection: &mut SqliteConnection, newest_ms: i64) -> Result<(), sqlx::Error> {
    let text = "DELETE FROM spent_by_day WHERE day < $1";
    sqlx::query(text).bind(day_of(newest_ms)).execute(connection).await.map(drop)
}
