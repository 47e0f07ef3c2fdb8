//! Persons who must not be sent to a provider for some time.
//!
//! A provider that has refused a person as "repeated" would refuse the next call too, and for longer. Its threshold is
//! unknown, so a call limit of our own stops us before we reach it. Keys are keyed digests: no personal data is stored
//! here.
//!
//! Invariant: a question costs the same however many persons the tables hold. Every list is in the order in which its
//! entries end, so a clean-up looks at its front, and at a few entries at most.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hashlink::{LinkedHashMap, LinkedHashSet};
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::Digest;

/// Bounds the memory of both tables: about 100 bytes per entry.
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
    held: HashMap<Digest, Held>,
    /// Who is on hold, by the length of the hold: holds of one length end in the order of their list.
    running: BTreeMap<Duration, LinkedHashSet<Digest>>,
    /// Whose hold has ended, first ended first. They are kept for `longest`, so that the next hold can be longer.
    ended: LinkedHashSet<Digest>,
    /// The calls in the window. The person whose last call is the oldest comes first.
    calls: LinkedHashMap<Digest, VecDeque<Instant>>,
    /// The number of calls in `calls`.
    counted: usize,
    /// The number of entries that clean-ups have looked at.
    #[cfg(test)]
    visited: usize,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
    length: Duration,
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
            held: HashMap::new(),
            running: BTreeMap::new(),
            ended: LinkedHashSet::new(),
            calls: LinkedHashMap::new(),
            counted: 0,
            #[cfg(test)]
            visited: 0,
        }))
    }

    /// Applies new settings. Existing holds keep their end.
    pub(super) fn reconfigure(&self, config: Config) {
        self.lock().config = config;
    }

    /// Counts a call about `person`, or returns how long the person must wait.
    pub(super) fn record_call(&self, person: Digest, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        let Config { calls, window, .. } = state.config;
        if let Some(held) = state.held.get(&person).filter(|held| held.until > now) {
            return Err(held.until - now);
        }
        state.forget_calls(now, FEW);
        let recent = state.calls.entry(person).or_insert_with(VecDeque::new);
        let before = recent.len();
        while recent.pop_front_if(|at| now.duration_since(*at) >= window).is_some() {}
        let lapsed = before - recent.len();
        let refused = recent.front().filter(|_| recent.len() >= calls).copied();
        if refused.is_none() {
            recent.push_back(now);
            state.calls.to_back(&person);
            state.counted += 1;
        }
        state.counted = state.counted.saturating_sub(lapsed);
        match refused {
            Some(oldest) => Err(window.saturating_sub(now.duration_since(oldest))),
            None => Ok(()),
        }
    }

    /// Reverts the count of a call that was not made.
    pub(super) fn cancel_call(&self, person: Digest) {
        let mut state = self.lock();
        let Some(recent) = state.calls.get_mut(&person) else { return };
        let was_counted = recent.pop_back().is_some();
        if recent.is_empty() {
            state.calls.remove(&person);
        }
        state.counted = state.counted.saturating_sub(usize::from(was_counted));
    }

    /// Holds `person` after a refusal by the provider, each time for longer. Returns the length of the hold.
    pub(super) fn hold(&self, person: Digest, now: Instant) -> Duration {
        let mut state = self.lock();
        state.end_holds(now, FEW);
        let Config { first, longest, .. } = state.config;
        let known = state.remove_hold(person).filter(|held| now < held.until + longest);
        let length = match known {
            Some(held) if held.until > now => held.length,
            Some(held) => (held.length * 2).min(longest),
            None => first,
        };
        if state.held.len() >= MOST_ENTRIES {
            state.make_room();
        }
        state.held.insert(person, Held { until: now + length, length });
        state.running.entry(length).or_default().insert(person);
        length
    }

    /// Restores what an earlier process knew of `person`: when calls began and when the provider refused the person,
    /// each oldest first. What is known already stays.
    pub(super) fn restore(&self, person: Digest, calls: &[Instant], refusals: &[Instant], now: Instant) {
        let mut state = self.lock();
        let Config { first, longest, window, .. } = state.config;
        // The hold is as long, and ends, as if there had been no restart.
        let held = refusals.iter().fold(None::<Held>, |held, at| {
            let length = match held {
                Some(held) if held.until > *at => held.length,
                Some(held) if *at < held.until + longest => (held.length * 2).min(longest),
                _ => first,
            };
            Some(Held { until: *at + length, length })
        });
        if let Some(held) = held.filter(|held| now < held.until + longest)
            && state.held.len() < MOST_ENTRIES
            && !state.held.contains_key(&person)
        {
            state.held.insert(person, held);
            match held.until > now {
                true => state.running.entry(held.length).or_default().insert(person),
                false => state.ended.insert(person),
            };
        }
        let room = MOST_ENTRIES.saturating_sub(state.counted);
        let in_window = |at: &&Instant| now.saturating_duration_since(**at) < window;
        let restored: Vec<Instant> = calls.iter().rev().filter(in_window).take(room).copied().collect();
        if restored.is_empty() {
            return;
        }
        state.counted += restored.len();
        if let Some(recent) = state.calls.get_mut(&person) {
            restored.into_iter().for_each(|at| recent.push_front(at));
        } else {
            state.calls.insert(person, restored.into_iter().rev().collect());
            // Its last call is older than those made since the start.
            state.calls.to_front(&person);
        }
    }

    /// Removes everything about `person`, who may then be sent again at once. Returns whether there was anything.
    pub(super) fn forget(&self, person: Digest) -> bool {
        let mut state = self.lock();
        let (held, called) = (state.remove_hold(person), state.calls.remove(&person));
        state.counted = state.counted.saturating_sub(called.as_ref().map_or(0, VecDeque::len));
        held.is_some() || called.is_some()
    }

    /// How many are on hold. Also removes what is over, which needs somebody to ask when no questions come in.
    pub(super) fn active(&self, now: Instant) -> usize {
        // Released between batches, so that questions are not blocked.
        while self.lock().forget_calls(now, BATCH) {}
        loop {
            let mut state = self.lock();
            if !state.end_holds(now, BATCH) {
                return state.running.values().map(LinkedHashSet::len).sum();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // If a holder panics, the tables may differ by one entry, which is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the holds that are over, and removes those that ended `longest` ago: at most `most` steps. Returns whether
    /// there may be more.
    fn end_holds(&mut self, now: Instant, most: usize) -> bool {
        let (mut left, longest) = (most, self.config.longest);
        let until = |held: &HashMap<Digest, Held>, person: &Digest| held.get(person).map_or(now, |held| held.until);
        for list in self.running.values_mut() {
            while left > 0
                && let Some(person) = list.front().copied().filter(|person| until(&self.held, person) <= now)
            {
                left -= 1;
                list.pop_front();
                self.ended.insert(person);
            }
        }
        while left > 0
            && let Some(person) = self.ended.front().copied()
            && until(&self.held, &person) + longest <= now
        {
            left -= 1;
            self.ended.pop_front();
            self.held.remove(&person);
        }
        // One list per length, so these are few.
        self.running.retain(|_, list| !list.is_empty());
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
        let ended = self.ended.pop_front();
        let first_to_end = || {
            let fronts = self.running.values().filter_map(LinkedHashSet::front);
            fronts.min_by_key(|person| self.held.get(person).map(|held| held.until)).copied()
        };
        if let Some(person) = ended.or_else(first_to_end) {
            self.remove_hold(person);
        }
    }

    fn remove_hold(&mut self, person: Digest) -> Option<Held> {
        let held = self.held.remove(&person)?;
        if !self.ended.remove(&person)
            && let Some(list) = self.running.get_mut(&held.length)
        {
            list.remove(&person);
        }
        Some(held)
    }

    /// Removes persons whose last call was a window ago, and the first ones while there are too many: at most `most`.
    /// Returns whether there may be more.
    fn forget_calls(&mut self, now: Instant, most: usize) -> bool {
        let (mut left, window) = (most, self.config.window);
        while left > 0
            && let Some((_, recent)) = self.calls.front()
            && (self.counted >= MOST_ENTRIES || recent.back().is_none_or(|last| now.duration_since(*last) >= window))
        {
            left -= 1;
            self.counted = self.counted.saturating_sub(recent.len());
            self.calls.pop_front();
        }
        #[cfg(test)]
        {
            self.visited += most - left;
        }
        left == 0
    }
}

#[cfg(test)]
mod tests;
