//! Persons who must not be sent to a provider for some time.
//!
//! A provider that has refused a person as "repeated" would refuse the next call too, and for longer. Its threshold is
//! unknown, so a call limit of our own stops us before we reach it. Keys are keyed digests: no personal data is stored
//! here.
//!
//! Invariant: a question costs the same however many persons the tables hold. Every list is in the order in which its
//! entries end, so a clean-up looks at its front, and at a few entries at most.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::{Digest, Half};
use crate::storage::table::{At, Epoch, Packed, Record, Table, millis};

/// Bounds the memory of both tables of a provider: 40 bytes for each call, and 48 for each person on hold.
const MOST_ENTRIES: usize = 200_000;

/// How much of what is over a question removes. More than it adds, so that the tables shrink.
const FEW: usize = 4;

/// How much is removed at a time when nobody waits for it.
const BATCH: usize = 1000;

/// Maximum of every duration here. A longer one is a mistake, and a much longer one would overflow `Instant`.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Section `[holds]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Length of the first hold after a provider says "repeated". Each further hold is twice as long.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub first: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub longest: Duration,
    /// Maximum calls per person and provider in `window`.
    pub calls: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
}

#[derive(Debug)]
pub(super) struct Holds(Mutex<State>);

#[derive(Debug)]
struct State {
    config: Config,
    epoch: Epoch,
    /// Who is on hold, in one list for each length of the hold: holds of one length end in the order of their list. Whose
    /// hold has ended is in a list of its own, first ended first, and is kept for `longest`, so that the next hold can
    /// be longer.
    held: Table<Held, 1>,
    /// The length, in milliseconds, of the holds in the lists after [`ENDED`].
    lengths: Vec<i64>,
    /// The number of holds that have not ended.
    running: usize,
    /// The calls in the window, oldest first.
    calls: Table<Called, 1>,
    /// The number of entries that clean-ups have looked at.
    #[cfg(test)]
    visited: usize,
}

/// The list of the holds that have ended.
const ENDED: usize = 0;

/// Times are in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    person: Half,
    until: Packed,
    length: Packed,
    has_ended: bool,
}

/// A call about a person.
#[derive(Debug, Clone, Copy, Default)]
struct Called {
    person: Half,
    at: Packed,
}

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.first.is_zero() {
            mistakes
                .push(("first", "is zero, so a refused person would be sent again at once; write \"10m\"".to_owned()));
        }
        if self.longest < self.first {
            mistakes.push(("longest", "is shorter than holds.first; write \"24h\"".to_owned()));
        }
        if self.longest > LONGEST {
            mistakes.push(("longest", "is longer than 30 days; write \"24h\"".to_owned()));
        }
        if self.window.is_zero() || self.window > LONGEST {
            mistakes.push((
                "window",
                "must be above zero, or calls would limit nothing, and at most 30 days; write \"10m\"".to_owned(),
            ));
        }
        if self.calls == 0 {
            mistakes.push(("calls", "is 0, so nobody could ever be asked about; write 5".to_owned()));
        }
        mistakes
    }
}

impl Holds {
    pub(super) fn new(config: Config) -> Self {
        Self(Mutex::new(State {
            config,
            epoch: Epoch::default(),
            held: Table::new(),
            lengths: Vec::new(),
            running: 0,
            calls: Table::new(),
            #[cfg(test)]
            visited: 0,
        }))
    }

    /// Applies new settings. Existing holds keep their end.
    pub(super) fn reconfigure(&self, config: Config) {
        self.lock().config = config;
    }

    pub(super) fn config(&self) -> Config {
        self.lock().config.clone()
    }

    /// Counts a call about `person`, or returns how long the person must wait.
    pub(super) fn record_call(&self, person: Digest, now: Instant) -> Result<(), Duration> {
        let (mut state, person) = (self.lock(), person.half());
        let (now, window) = (state.epoch.millis(now), millis(state.config.window));
        if let Some(held) = state.find_hold(person).and_then(|at| state.held.get(at))
            && held.until.get() > now
        {
            return Err(duration(held.until.get() - now));
        }
        state.forget_calls(now, FEW);
        state.forget_calls_of(person, now);
        let recent = state.calls_of(person).map(|(_, call)| call.at.get());
        let (count, oldest) = recent.fold((0, now), |(count, oldest), at| (count + 1, oldest.min(at)));
        if count >= state.config.calls {
            return Err(duration(window - (now - oldest)));
        }
        state.calls.insert(Called { person, at: Packed::new(now) }, [0]);
        Ok(())
    }

    /// Reverts the count of a call that was not made.
    pub(super) fn cancel_call(&self, person: Digest) {
        let mut state = self.lock();
        let latest = state.calls_of(person.half()).max_by_key(|(_, call)| call.at.get()).map(|(at, _)| at);
        latest.and_then(|at| state.calls.remove(at));
    }

    /// Holds `person` after a refusal by the provider, each time for longer. Returns the length of the hold.
    pub(super) fn hold(&self, person: Digest, now: Instant) -> Duration {
        let (mut state, person) = (self.lock(), person.half());
        let now = state.epoch.millis(now);
        state.end_holds(now, FEW);
        let known = state.find_hold(person).and_then(|at| state.remove_hold(at));
        let next = state.next_hold(known, now);
        if state.held.len() >= MOST_ENTRIES {
            state.make_room();
        }
        state.add_hold(Held { person, ..next }, now);
        duration(next.length.get())
    }

    /// Restores what an earlier process knew of `person`: when calls began and when the provider refused the person,
    /// each oldest first. What is known already stays.
    pub(super) fn restore(&self, person: Digest, calls: &[Instant], refusals: &[Instant], now: Instant) {
        let (mut state, person) = (self.lock(), person.half());
        let (now, window, longest) =
            (state.epoch.millis(now), millis(state.config.window), millis(state.config.longest));
        // The hold is as long, and ends, as if there had been no restart.
        let held = refusals.iter().fold(None, |held, at| Some(state.next_hold(held, state.epoch.millis(*at))));
        if let Some(held) = held
            && now < held.until.get() + longest
            && state.held.len() < MOST_ENTRIES
            && state.find_hold(person).is_none()
        {
            state.add_hold(Held { person, ..held }, now);
        }
        let room = MOST_ENTRIES.saturating_sub(state.calls.len());
        let recent = calls.iter().rev().map(|at| state.epoch.millis(*at)).filter(|at| now - at < window);
        let restored: Vec<i64> = recent.take(room).collect();
        for at in restored {
            // They are older than those made since the start.
            let call = state.calls.insert(Called { person, at: Packed::new(at) }, [0]);
            state.calls.to_front(0, 0, call);
        }
    }

    /// Removes everything about `person`, who may then be sent again at once. Returns whether there was anything.
    pub(super) fn forget(&self, person: Digest) -> bool {
        let (mut state, person) = (self.lock(), person.half());
        let mut was_known = state.find_hold(person).and_then(|at| state.remove_hold(at)).is_some();
        while let Some(at) = state.find_call(person) {
            state.calls.remove(at);
            was_known = true;
        }
        was_known
    }

    /// How many are on hold. Also removes what is over, which needs somebody to ask when no questions come in.
    pub(super) fn active(&self, now: Instant) -> usize {
        // Released between batches, so that questions are not blocked.
        loop {
            let mut state = self.lock();
            let now = state.epoch.millis(now);
            if !state.forget_calls(now, BATCH) && !state.end_holds(now, BATCH) {
                return state.running;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // If a holder panics, the tables may differ by one entry, which is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let state = self.lock();
        state.held.bytes() + state.calls.bytes()
    }
}

impl State {
    /// The hold of somebody who is refused at `now`, and was held before. A refusal of a call that was out together with
    /// another lengthens nothing.
    fn next_hold(&self, known: Option<Held>, now: i64) -> Held {
        let (first, longest) = (millis(self.config.first), millis(self.config.longest));
        let length = match known.map(|held| (held.until.get(), held.length.get())) {
            Some((until, length)) if until > now => length,
            Some((until, length)) if now < until + longest => (length * 2).min(longest),
            _ => first,
        };
        let (until, length) = (Packed::new(now + length), Packed::new(length));
        Held { until, length, ..Held::default() }
    }

    fn find_hold(&self, person: Half) -> Option<At> {
        self.held.find(person.short(), |held| held.person == person)
    }

    fn add_hold(&mut self, held: Held, now: i64) {
        let has_ended = held.until.get() <= now;
        let list = if has_ended { ENDED } else { self.list_of(held.length.get()) };
        self.running += usize::from(!has_ended);
        self.held.insert(Held { has_ended, ..held }, [list]);
    }

    fn remove_hold(&mut self, at: At) -> Option<Held> {
        let held = self.held.remove(at)?;
        self.running -= usize::from(!held.has_ended);
        Some(held)
    }

    /// The list for holds of this length. There are few lengths, and a list that is empty may get another.
    fn list_of(&mut self, length: i64) -> usize {
        let is_free = |list: usize| self.held.front(0, list).is_none();
        let known = self.lengths.iter().position(|known| *known == length);
        let index = known.or_else(|| (0..self.lengths.len()).find(|index| is_free(index + 1)));
        match index.and_then(|index| self.lengths.get_mut(index)) {
            Some(place) => *place = length,
            None => self.lengths.push(length),
        }
        index.map_or(self.lengths.len(), |index| index + 1)
    }

    /// Ends the holds that are over, and removes those that ended `longest` ago: at most `most` steps. Returns whether
    /// there may be more.
    fn end_holds(&mut self, now: i64, most: usize) -> bool {
        let (mut left, longest) = (most, millis(self.config.longest));
        for list in 1..=self.lengths.len() {
            while left > 0
                && let Some(at) = self.held.front(0, list)
                && let Some(held) = self.held.get_mut(at)
                && held.until.get() <= now
            {
                left -= 1;
                held.has_ended = true;
                self.running -= 1;
                self.held.to_back(0, ENDED, at);
            }
        }
        while left > 0
            && let Some(at) = self.held.front(0, ENDED)
            && self.held.get(at).is_some_and(|held| held.until.get() + longest <= now)
        {
            left -= 1;
            self.remove_hold(at);
        }
        #[cfg(test)]
        {
            self.visited += most - left;
        }
        left == 0
    }

    /// Removes the oldest hold that has ended, or else the one that ends first.
    fn make_room(&mut self) {
        #[cfg(test)]
        {
            self.visited += 1;
        }
        let until = |at: &At| self.held.get(*at).map(|held| held.until.get());
        let fronts = (1..=self.lengths.len()).filter_map(|list| self.held.front(0, list));
        let first_to_end = self.held.front(0, ENDED).or_else(|| fronts.min_by_key(until));
        first_to_end.and_then(|at| self.remove_hold(at));
    }

    fn calls_of(&self, person: Half) -> impl Iterator<Item = (At, &Called)> {
        self.calls.bucket(person.short()).filter(move |(_, call)| call.person == person)
    }

    fn find_call(&self, person: Half) -> Option<At> {
        self.calls_of(person).next().map(|(at, _)| at)
    }

    /// Removes all calls about `person` that were made a window ago.
    fn forget_calls_of(&mut self, person: Half, now: i64) {
        let window = millis(self.config.window);
        let has_lapsed = |call: &Called| call.person == person && now - call.at.get() >= window;
        while let Some(at) = self.calls.find(person.short(), has_lapsed) {
            self.calls.remove(at);
        }
    }

    /// Removes calls that were made a window ago, and the oldest while there are too many: at most `most`. Returns
    /// whether there may be more.
    fn forget_calls(&mut self, now: i64, most: usize) -> bool {
        let (mut left, window) = (most, millis(self.config.window));
        while left > 0
            && let Some(at) = self.calls.front(0, 0)
            && let Some(oldest) = self.calls.get(at)
            && (self.calls.len() >= MOST_ENTRIES || now - oldest.at.get() >= window)
        {
            left -= 1;
            self.calls.remove(at);
        }
        #[cfg(test)]
        {
            self.visited += most - left;
        }
        left == 0
    }
}

fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

impl Record for Held {
    fn hash(&self) -> u32 {
        self.person.short()
    }
}

impl Record for Called {
    fn hash(&self) -> u32 {
        self.person.short()
    }
}

#[cfg(test)]
mod tests;
