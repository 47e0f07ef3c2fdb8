//! Who tries names out on a number, or numbers in heaps: stopped before anything is asked or remembered answers are
//! told.
//!
//! A new name for a number, and a new number, count from their first question on, for one window; the same again does
//! not count. Counted per client (its keys together), so that what one client tries never locks another out, the payout
//! flow above all; whoever holds the keys of `n` clients has `n` times the tries. A question that is refused is not
//! counted, leaves nothing behind, and is answered alike whether its name would match or not.
//!
//! Invariants: keyed digests only, eight bytes of each; one lock, held for a few table operations and never across a
//! wait; at most [`MOST_TRIES`] tries are kept. When they are all taken, numbers with one name go first, the oldest of
//! them; a number with several names goes only when nine tenths of all lines are of such. [`Config::validate`] sees to
//! it that no client alone can bring that about, so nobody washes off traces of its own by asking about many people.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::{Digest, DigestKey, Subject};

mod names;
mod numbers;

use self::names::{Mark, QUIET_SHARE};

/// Bounds the memory: some 130 bytes a try.
pub const MOST_TRIES: usize = 1_000_000;

/// So many of them may be of numbers with several names, however many there are of the others.
const MOST_LOUD: usize = MOST_TRIES - MOST_TRIES / QUIET_SHARE;

/// They are compared one by one.
const MOST_NAMES: usize = 100;

/// Beyond a day it would be no guard, but a ban.
const LONGEST_WINDOW: Duration = Duration::from_hours(24);

/// Section `[enumeration]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The most names that a client may try for one number in the window. Zero: no limit.
    pub names_per_number: usize,
    /// The most numbers that a client may ask about in the window. Zero: no limit.
    pub numbers_per_client: usize,
    /// The length of the window.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
}

/// What looks like enumeration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Too many names for one number.
    NamesPerNumber,
    /// Too many numbers.
    NumbersPerClient,
}

/// What was tried lately, by keyed digest. Outlives every configuration.
#[derive(Debug, Default)]
pub struct Tries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    names: names::Names,
    numbers: numbers::Numbers,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Kind] = <Self as strum::VariantArray>::VARIANTS;

    /// The word in problems, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
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
        // Each number has one quiet try and then loud ones; and numbers of two windows can be tried in one.
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
    /// Counts a client's question about `subject`, or says what it looks like and when it may be asked.
    pub(super) fn admit(
        &self,
        config: &Config,
        key: &DigestKey,
        client: &str,
        subject: &Subject,
        now: Instant,
    ) -> Result<(), (Kind, Duration)> {
        let mark = Mark::of(key, client, subject);
        let counted = self.lock().admit(config, client, mark, now);
        counted.map_err(|(kind, oldest)| (kind, (oldest + config.window).saturating_duration_since(now)))
    }

    /// Forgets every try of these clients at the number of `subject`; how many there were.
    pub(super) fn forget<'a>(
        &self,
        key: &DigestKey,
        clients: impl Iterator<Item = &'a str>,
        subject: &Subject,
    ) -> usize {
        let mut state = self.lock();
        let of = |client: &str| {
            let Mark { number, name: _ } = Mark::of(key, client, subject);
            let counted = state.numbers.forget(client, number);
            // A number that is counted has tries, and the other way round, unless one of the limits is off.
            state.names.forget(number).max(usize::from(counted))
        };
        clients.map(of).sum()
    }

    /// Lets go of what is over; for when nobody asks.
    pub(super) fn sweep(&self, window: Duration, now: Instant) {
        // Before the clock has run for a window nothing can be over.
        let Some(until) = now.checked_sub(window) else { return };
        // The lock is given away in between.
        while self.lock().lapse(until) {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panicking holder leaves a try counted in one table and not in the other, which lapses like any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of some of what was first tried at `until` or before; whether there may be more.
    fn lapse(&mut self, until: Instant) -> bool {
        let (names, numbers) = (self.names.lapse(until), self.numbers.lapse(until));
        names || numbers
    }

    /// Counts in both tables or in neither. Refused: since when the oldest try that stands in the way has counted.
    fn admit(&mut self, config: &Config, client: &str, mark: Mark, now: Instant) -> Result<(), (Kind, Instant)> {
        let Config { names_per_number, numbers_per_client, window } = *config;
        if let Some(until) = now.checked_sub(window) {
            self.names.lapse(until);
            self.names.lapse_of(mark.number, until);
            self.numbers.lapse_of(client, until);
        }
        if names_per_number > 0 {
            self.names.check(mark, names_per_number).map_err(|oldest| (Kind::NamesPerNumber, oldest))?;
        }
        if numbers_per_client > 0 {
            let counted = self.numbers.count(client, mark.number, numbers_per_client, now);
            counted.map_err(|oldest| (Kind::NumbersPerClient, oldest))?;
        }
        if names_per_number > 0 {
            self.names.count(mark, now, MOST_TRIES);
        }
        Ok(())
    }
}

impl Mark {
    fn of(key: &DigestKey, client: &str, subject: &Subject) -> Self {
        let number = subject.id_number().as_bytes();
        Self {
            number: short(&key.digest("enumeration-number/v1", &[client.as_bytes(), number])),
            name: short(&key.digest("enumeration-name/v1", &[number, subject.name().as_bytes()])),
        }
    }
}

/// Eight bytes of a keyed digest tell a million apart, and tell less of anybody than all of them.
fn short(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
