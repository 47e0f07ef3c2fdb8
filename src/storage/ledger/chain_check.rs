//! The check of the hash chain. It reads page by page, so that a check which takes long does not keep the write-ahead log
//! from being reused.
//!
//! The chain begins after the entry that the last removal names. A removal is an entry itself, so whoever invents one has
//! to change the chain, and its age is checked against the entries around it.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::chain_hash::Seal;
use super::database::{entry, sealed};
use super::entry::{Entry, Removed};
use super::error::ReadError;
use super::queries::Reader;
use super::record::with_columns;
use super::retention::longest_jump;
use super::sums::{self, Sums, day_of};

/// How many entries are read at once.
const PAGE: i64 = 1000;

const PAGE_WITHOUT: &str = "SELECT seq, body, hash FROM entries WHERE seq > $1 ORDER BY seq LIMIT $2";
const PAGE_WITH_COLUMNS: &str = "SELECT seq, body, hash, own_kind, own_id, own_at_ms, own_client, own_outcome, \
                                 own_provider, own_subject, own_flight, own_reference, own_billed, own_price, \
                                 own_reason, own_key, own_claim FROM entries WHERE seq > $1 ORDER BY seq LIMIT $2";

/// How often a check starts over because entries were removed under it.
const STARTS: u32 = 5;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a check expects besides sound seals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The number of an entry, and its seal as 64 hexadecimal digits.
    pub seal: Option<(i64, String)>,
    /// How long removed entries must have been kept.
    pub keep: Option<Duration>,
    /// Whether the first entry may be much later than the last one that was removed.
    pub accepts_gap: bool,
}

/// The result of a check that found no fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub entries: u64,
    /// The number of the last entry that retention has removed; zero if none. The first that should be there is the next.
    pub removed_up_to: i64,
    /// Whether an earlier idgate removed it, which did not seal removals, so that its age cannot be checked.
    pub is_adopted: bool,
    /// The number of the last entry.
    pub last: i64,
    /// The seal of the last entry, as 64 hexadecimal digits. If it is kept elsewhere, a later check can show that
    /// nothing was cut off.
    pub seal: String,
}

/// The first fault that a check found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("entries are missing between number {after} and number {before}")]
    Gap {
        /// The last entry before the gap.
        after: i64,
        /// The first entry after the gap.
        before: i64,
    },
    #[error("entry number {seq} was changed or moved, or one before it was")]
    Changed {
        /// The first entry whose seal is wrong.
        seq: i64,
    },
    /// Queries would find the entry as something that it is not.
    #[error("entry number {seq} is sound, but its columns say something else")]
    Columns { seq: i64 },
    #[error("entry number {seq} says that entries up to number {up_to} were removed, but {why}")]
    Removal {
        /// The entry about the removal.
        seq: i64,
        up_to: i64,
        why: String,
    },
    /// The sums from which budgets and packages are read are wrong; the entries themselves are sound.
    #[error("the sum of what {client} has spent at {provider} on {day} is not that of its calls")]
    Sums {
        /// In China.
        day: String,
        provider: String,
        client: String,
    },
    /// SQLite reports that the file is damaged.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// An entry is missing or has a different seal than the one kept from an earlier check.
    #[error("entry number {seq} is not there with the seal that is expected")]
    NotAsExpected {
        /// The entry that the caller named.
        seq: i64,
    },
}

/// The chain as far as it was checked.
struct Progress {
    checked: Checked,
    seal: Seal,
    /// When the last entry happened.
    at_ms: Option<i64>,
    /// The number up to which the last removal seen removed.
    removed: i64,
    /// The latest day of an entry that a removal seen removed.
    removed_day: Option<i64>,
    sums: Sums,
}

impl Reader {
    /// Checks every seal and every removal, then the file with its indexes. `progress` gets the number of entries
    /// checked so far.
    ///
    /// # Errors
    /// If the file cannot be read at all.
    pub async fn check(
        &self,
        expected: &Expected,
        mut progress: impl FnMut(u64),
    ) -> Result<Result<Checked, Broken>, ReadError> {
        let mut starts = 0;
        let checked = loop {
            starts += 1;
            let begin = match self.last_removal().await {
                Ok(begin) => begin,
                Err(sqlx::Error::Database(error)) => return Ok(Err(Broken::Damaged(error.to_string()))),
                Err(error) => return Err(error.into()),
            };
            match self.check_seals(begin.as_ref(), expected, &mut progress).await {
                // A gateway that runs may have removed entries meanwhile.
                Err(Broken::Gap { .. }) if starts < STARTS && self.last_removal().await? != begin => {}
                checked => break checked,
            }
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(broken) => return Ok(Err(broken)),
        };
        // Runs last because it cannot say which entry is damaged.
        let told = match sqlx::query("PRAGMA integrity_check(1)").fetch_one(self.pool()).await {
            Ok(row) => row.try_get(0)?,
            Err(error) => error.to_string(),
        };
        Ok(if told == "ok" { Ok(checked) } else { Err(Broken::Damaged(told)) })
    }

    /// The last removal and its number. A body that cannot be read is found by its seal.
    async fn last_removal(&self) -> Result<Option<(i64, Removed)>, sqlx::Error> {
        let last = sqlx::query("SELECT seq, body FROM entries WHERE kind = 'removed' ORDER BY seq DESC LIMIT 1");
        let Some(row) = last.fetch_optional(self.pool()).await? else { return Ok(None) };
        Ok(match entry(&row) {
            Ok(Entry::Removed(removed)) => Some((row.try_get("seq")?, removed)),
            _ => None,
        })
    }

    /// The sums as they are now, and the last entry that they include; `None` in a file of an earlier idgate.
    async fn sums(&self) -> Result<Option<(Sums, i64)>, sqlx::Error> {
        let mut connection = self.pool().begin().await?;
        if sums::exist(&mut connection).await? { sums::all(&mut connection).await.map(Some) } else { Ok(None) }
    }

    /// Whether entries may have columns of their own; in a file that an earlier idgate has written last they have not.
    async fn has_columns(&self) -> Result<bool, sqlx::Error> {
        let column = sqlx::query("SELECT name FROM pragma_table_xinfo('entries') WHERE name = 'own_kind'");
        Ok(column.fetch_optional(self.pool()).await?.is_some())
    }

    async fn check_seals(
        &self,
        begin: Option<&(i64, Removed)>,
        expected: &Expected,
        progress: &mut impl FnMut(u64),
    ) -> Result<Checked, Broken> {
        let up_to = begin.map_or(0, |(_, removed)| removed.up_to);
        let seal = begin.map_or(Some(Seal::NONE), |(_, removed)| Seal::from_hex(&removed.seal));
        let is_adopted = begin.is_some_and(|(_, removed)| removed.outcome == Removed::ADOPTED);
        let checked = Checked { entries: 0, removed_up_to: up_to, is_adopted, last: up_to, seal: String::new() };
        // A seal that is none fits no entry.
        let mut chain = Progress {
            checked,
            seal: seal.unwrap_or(Seal::NONE),
            at_ms: None,
            removed: 0,
            removed_day: None,
            sums: Sums::default(),
        };
        chain.removes(begin.and_then(|(_, removed)| removed.newest_ms));
        let kept = self.sums().await.map_err(|error| Broken::Damaged(error.to_string()))?;
        let has_columns = self.has_columns().await.map_err(|error| Broken::Damaged(error.to_string()))?;
        let mut is_as_expected = expected.seal.is_none();
        let mut after = i64::MIN;
        loop {
            let damaged =
                |last: i64| move |error: sqlx::Error| Broken::Damaged(format!("after entry number {last}: {error}"));
            let page = sqlx::query(if has_columns { PAGE_WITH_COLUMNS } else { PAGE_WITHOUT });
            let page = page.bind(after).bind(PAGE).fetch_all(self.pool()).await;
            let page = page.map_err(damaged(chain.checked.last))?;
            for row in &page {
                let damaged = damaged(chain.checked.last);
                let (seq, hash) = sealed(row).map_err(damaged)?;
                if seq != chain.checked.last + 1 {
                    return Err(Broken::Gap { after: chain.checked.last, before: seq });
                }
                chain.seal = chain.seal.next(seq, row.try_get("body").map_err(damaged)?);
                let entry = match entry(row) {
                    Ok(entry) if chain.seal == hash => entry,
                    _ => return Err(Broken::Changed { seq }),
                };
                if has_columns && !columns_agree(row, &entry).map_err(damaged)? {
                    return Err(Broken::Columns { seq });
                }
                chain.check_ages(seq, &entry, begin, expected)?;
                let is = |(number, hex): &(i64, String)| *number == seq && *hex == chain.seal.to_hex();
                is_as_expected |= expected.seal.as_ref().is_some_and(is);
                chain.at_ms = Some(entry.at_ms());
                match entry {
                    Entry::Call(call) if kept.as_ref().is_some_and(|(_, summed)| seq <= *summed) => {
                        chain.sums.add((&call).into())
                    }
                    Entry::Removed(removed) => chain.removes(removed.newest_ms),
                    _ => {}
                }
                (chain.checked.last, chain.checked.entries, after) = (seq, chain.checked.entries + 1, seq);
                progress(chain.checked.entries);
            }
            if page.is_empty() {
                break;
            }
        }
        if let Some((day, provider, client)) =
            kept.and_then(|(kept, _)| kept.difference(&chain.sums, chain.removed_day))
        {
            return Err(Broken::Sums { day, provider, client });
        }
        match &expected.seal {
            Some((seq, _)) if !is_as_expected => Err(Broken::NotAsExpected { seq: *seq }),
            _ => Ok(Checked { seal: chain.seal.to_hex(), ..chain.checked }),
        }
    }
}

impl Progress {
    fn removes(&mut self, newest_ms: Option<i64>) {
        self.removed_day = self.removed_day.max(newest_ms.map(day_of));
    }

    /// Checks what `entry`, which has the next number, says of removals.
    fn check_ages(
        &mut self,
        seq: i64,
        entry: &Entry,
        begin: Option<&(i64, Removed)>,
        expected: &Expected,
    ) -> Result<(), Broken> {
        if let (None, Some((number, last))) = (self.at_ms, begin)
            && let Some(why) = unlikely_gap(last, entry.at_ms(), expected)
        {
            return Err(Broken::Removal { seq: *number, up_to: last.up_to, why });
        }
        if let Entry::Removed(removed) = entry {
            if let Some(why) = self.fault_of(seq, removed, expected) {
                return Err(Broken::Removal { seq, up_to: removed.up_to, why: why.to_owned() });
            }
            self.removed = removed.up_to;
        }
        Ok(())
    }

    fn fault_of(&self, seq: i64, removed: &Removed, expected: &Expected) -> Option<&'static str> {
        let Removed { at_ms, up_to, newest_ms, keep_ms, .. } = removed;
        let least = expected.keep.map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        if *up_to >= seq || *up_to <= self.removed {
            return Some("that does not follow the removal before it");
        }
        let Some(newest_ms) = newest_ms else {
            // Only what came before all sealed removals can be adopted.
            return (removed.outcome != Removed::ADOPTED || self.removed > 0)
                .then_some("it does not say how old they were");
        };
        if *newest_ms >= at_ms.saturating_sub(*keep_ms) {
            Some("they were younger than the time for which entries are kept")
        } else if self.at_ms.is_some_and(|before_ms| *at_ms > before_ms) {
            Some("no entry before it is as late as it says, so they were not that old")
        } else if *keep_ms < DAY_MS {
            Some("entries are kept for a day at least")
        } else if least.is_some_and(|least| *keep_ms < least) {
            Some("they were kept for less than ledger.keep; if that was shorter then, give it as --keep")
        } else {
            None
        }
    }
}

/// Whether the columns of this row, if it has its own, say what `entry` says.
fn columns_agree(row: &SqliteRow, entry: &Entry) -> Result<bool, sqlx::Error> {
    let text = |name: &str| row.try_get::<Option<&str>, _>(name);
    let number = |name: &str| row.try_get::<Option<i64>, _>(name);
    if text("own_kind")?.is_none() {
        return Ok(true);
    }
    let (at_ms, price) = (number("own_at_ms")?, number("own_price")?);
    let names = ["kind", "id", "client", "outcome", "provider", "subject", "flight", "reference", "billed", "reason"];
    let names = names.into_iter().chain(["key", "claim"]);
    let own = names.map(|name| text(&format!("own_{name}"))).collect::<Result<Vec<_>, _>>()?;
    Ok(with_columns(entry, |right| {
        let always = [right.kind, right.id, right.client, right.outcome].map(Some);
        let maybe = [right.provider, right.subject, right.flight, right.reference, right.billed, right.reason];
        let right_texts = always.into_iter().chain(maybe).chain([right.key, right.claim]);
        at_ms == Some(right.at_ms) && price == right.price_micro_yuan && own.into_iter().eq(right_texts)
    }))
}

/// Whether the first entry is so much later than the last one that was removed that others may have been between them.
fn unlikely_gap(last: &Removed, first_ms: i64, expected: &Expected) -> Option<String> {
    let keep = Duration::from_millis(last.keep_ms.unsigned_abs());
    let gap = first_ms.saturating_sub(last.newest_ms?);
    let is_long = i64::try_from(longest_jump(keep).as_millis()).is_ok_and(|most| gap > most);
    let at = |ms| Timestamp::from_millisecond(ms).map(|at| format!("{at:.0}")).unwrap_or_default();
    (is_long && !expected.accepts_gap).then(|| {
        let (newest, first) = (at(last.newest_ms.unwrap_or_default()), at(first_ms));
        format!(
            "the last of them was of {newest} and the first one left is of {first}; if nothing was asked for between, or \
             the clock had jumped, check with --accept-gap"
        )
    })
}
