//! The enumeration guard: refuses clients that try out many names for one number, or many numbers. It runs before the
//! cache and before any provider, because a cached answer reveals as much as a fresh one.
//!
//! A new name for a number, and a new number, each count for one window from their first question on; repeats do not
//! count. Tries are counted per client (all of its keys together), so that one client cannot lock out another, above
//! all the payout flow. Someone who holds the keys of `n` clients has `n` times the tries. A refused question is not
//! counted, stores nothing, and gets the same answer whether its name would match or not.
//!
//! Invariants: only keyed digests are stored, eight bytes of that of a number and six of that of a name. One lock, held
//! for a few table operations and never across an await; they cost the same however many tries there are. At most
//! [`MOST_TRIES`] tries of names are kept. When the table is full, numbers with one name are evicted first, oldest first; a number with several names is
//! evicted only when such numbers take up nine tenths of the table. [`Config::validate`] ensures that no single client
//! can cause that, so that nobody can erase their own traces by asking about many people.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::{Digest, DigestKey, Subject};
use crate::storage::table::{Epoch, millis};

mod mark;
mod names;
mod numbers;

pub(super) use self::mark::number;

use self::mark::Mark;
use self::names::QUIET_SHARE;

/// Bounds the memory: 40 bytes for each try. A number that is counted for a client takes 36 more.
pub const MOST_TRIES: usize = 1_000_000;

/// The number of tries kept for numbers with several names, however many other numbers there are.
const MOST_LOUD: usize = MOST_TRIES - MOST_TRIES / QUIET_SHARE;

/// How many lapsed tries a question removes from a table. More than it adds, so that the tables shrink.
const FEW: usize = 4;

/// How many are removed at a time when nobody waits for it.
const BATCH: usize = 1000;

/// Kept small because the names of a number are compared one by one.
const MOST_NAMES: usize = 100;

/// A longer window would be a ban rather than a guard.
const LONGEST_WINDOW: Duration = Duration::from_hours(24);

/// Section `[enumeration]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Maximum names that a client may try for one number per window. Zero: no limit.
    pub names_per_number: usize,
    /// Maximum numbers that a client may ask about per window. Zero: no limit.
    pub numbers_per_client: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
}

/// The kind of enumeration suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Too many names for one number.
    NamesPerNumber,
    /// Too many numbers from one client.
    NumbersPerClient,
}

/// Recent tries, by keyed digest. Survives configuration reloads.
#[derive(Debug, Default)]
pub struct Tries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Times are in milliseconds since then.
    epoch: Epoch,
    /// Clients are numbered. Their names come from the configuration, so they are few.
    clients: HashMap<Box<str>, u32>,
    names: names::Names,
    numbers: numbers::Numbers,
}

impl Kind {
    pub const ALL: &'static [Kind] = <Self as strum::VariantArray>::VARIANTS;

    /// The label used in problems, logs and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.window.is_zero() || self.window > LONGEST_WINDOW {
            mistakes.push((
                "window",
                "must be above zero, or nothing would be counted, and at most 24 hours; write \"1h\"".to_owned(),
            ));
        }
        if self.names_per_number > MOST_NAMES {
            mistakes.push(("names_per_number", format!("is more than {MOST_NAMES}, which stops nobody; write 5")));
            return mistakes;
        }
        // Each number adds one quiet try, all others are loud. Doubled, because the loud tries on the numbers of two
        // successive windows can fall into one.
        let loud = 2 * self.names_per_number.saturating_sub(1);
        let most = MOST_LOUD / loud.max(1);
        if loud > 0 && self.numbers_per_client > most {
            mistakes.push((
                "numbers_per_client",
                format!(
                    "lets one client fill the table of tries and so wash off its own; write at most {most}, or fewer \
                     names_per_number, or 0 for no limit"
                ),
            ));
        }
        mistakes
    }
}

impl Tries {
    /// Counts a client's question about `subject`, or returns the kind of enumeration suspected and the time to wait.
    /// Returns the number if it was counted against the client's numbers, for the other replicas.
    pub(super) fn admit(
        &self,
        config: &Config,
        key: &DigestKey,
        client: &str,
        subject: &Subject,
        now: Instant,
    ) -> Result<Option<[u8; 8]>, (Kind, Duration)> {
        if config.names_per_number == 0 && config.numbers_per_client == 0 {
            return Ok(None);
        }
        let mark = Mark::of(key, subject);
        let is_counted = self.lock().admit(config, client, mark, now)?;
        Ok(is_counted.then(|| mark.number.to_le_bytes()))
    }

    /// The clients that have asked about numbers here, and how many.
    pub(super) fn numbers(&self) -> Vec<(Box<str>, usize)> {
        let state = self.lock();
        let counts = state.numbers.counts();
        let all = state.clients.iter().map(|(name, number)| {
            let count = counts.get(*number as usize).copied().unwrap_or_default();
            (name.clone(), count)
        });
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Takes how many numbers clients have asked about at other replicas only; of those not named it is not known.
    pub(super) fn heard(&self, elsewhere: &[(Box<str>, usize)]) {
        let mut state = self.lock();
        let mut counts = Vec::new();
        for (client, count) in elsewhere {
            let client = state.number_of(client) as usize;
            if counts.len() <= client {
                counts.resize(client + 1, 0);
            }
            counts.get_mut(client).into_iter().for_each(|of_client| *of_client = *count);
        }
        state.numbers.heard(counts);
    }

    /// Whether the client has tried this name for this number.
    pub(super) fn knows(&self, key: &DigestKey, client: &str, subject: &Subject) -> bool {
        let mark = Mark::of(key, subject);
        let mut state = self.lock();
        let client = state.number_of(client);
        state.names.knows(client, mark)
    }

    /// Removes all clients' tries at this [`number`]. Returns how many there were.
    pub(super) fn forget(&self, number: Digest) -> usize {
        let number = mark::short(&number);
        let mut state = self.lock();
        let mut tries = state.names.forget(number);
        // A number is counted exactly if it has tries of names, unless one of the limits is off.
        for client in state.numbers.forget(number) {
            tries.entry(client).or_insert(1);
        }
        tries.into_values().sum()
    }

    /// Removes lapsed tries. Needed when no questions come in.
    pub(super) fn sweep(&self, window: Duration, now: Instant) {
        // Released between batches, so that questions are not blocked.
        while self.lock().lapse(window, now) {}
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> (usize, usize) {
        let state = self.lock();
        (state.names.bytes(), state.numbers.bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a holder panics, a try may be counted in only one table. It lapses like any other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes one batch of tries made a window ago or before. Returns whether there may be more.
    fn lapse(&mut self, window: Duration, now: Instant) -> bool {
        let until = self.epoch.millis(now) - millis(window);
        let (names, numbers) = (self.names.lapse(until, BATCH), self.numbers.lapse(until, BATCH));
        names || numbers
    }

    /// Counts in both tables or in neither. Returns whether the number was counted. A refusal returns how long the
    /// oldest try blocks this one.
    fn admit(&mut self, config: &Config, client: &str, mark: Mark, now: Instant) -> Result<bool, (Kind, Duration)> {
        let Config { names_per_number, numbers_per_client, window } = *config;
        let (client, now) = (self.number_of(client), self.epoch.millis(now));
        let until = now - millis(window);
        let refused = |kind| move |oldest: i64| (kind, Duration::from_millis((oldest - until).max(0).unsigned_abs()));
        self.names.lapse(until, FEW);
        self.names.lapse_of(client, mark.number, until);
        self.numbers.lapse_of(client, until, FEW);
        if names_per_number > 0 {
            self.names.check(client, mark, names_per_number).map_err(refused(Kind::NamesPerNumber))?;
        }
        let mut is_counted = false;
        if numbers_per_client > 0 {
            let counted = self.numbers.count(client, mark.number, numbers_per_client, until, now);
            // What was asked elsewhere goes a sixth of the window at a time.
            let sixth = until + millis(window) / 6;
            is_counted = counted.map_err(|oldest| refused(Kind::NumbersPerClient)(oldest.unwrap_or(sixth)))?;
        }
        if names_per_number > 0 {
            self.names.count(client, mark, now, MOST_TRIES);
        }
        Ok(is_counted)
    }

    fn number_of(&mut self, client: &str) -> u32 {
        if let Some(number) = self.clients.get(client) {
            return *number;
        }
        let number = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        self.clients.insert(client.into(), number);
        number
    }
}

#[cfg(test)]
mod tests;
