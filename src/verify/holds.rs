//! Persons who must not be sent to a provider for some time.
//!
//! A provider that has refused a person as "repeated" would refuse the next call too, and for longer. Its threshold is
//! unknown, so a call limit of our own stops us before we reach it. Keys are keyed digests: no personal data is stored
//! here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::Digest;

/// Bounds the memory of both tables: about 100 bytes per entry.
const MOST_ENTRIES: usize = 200_000;

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
    calls: HashMap<Digest, VecDeque<Instant>>,
    /// One entry per counted call, oldest first, so that old calls are removed without a search. May hold stale
    /// entries.
    touched: VecDeque<(Instant, Digest)>,
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
        let (held, calls, touched) = (HashMap::new(), HashMap::new(), VecDeque::new());
        Self(Mutex::new(State { config, held, calls, touched }))
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
        state.forget_calls_before(now, window);
        let recent = state.calls.entry(person).or_default();
        while recent.front().is_some_and(|at| now.duration_since(*at) >= window) {
            recent.pop_front();
        }
        if let (true, Some(oldest)) = (recent.len() >= calls, recent.front()) {
            return Err(window.saturating_sub(now.duration_since(*oldest)));
        }
        recent.push_back(now);
        state.touched.push_back((now, person));
        Ok(())
    }

    /// Reverts the count of a call that was not made.
    pub(super) fn cancel_call(&self, person: Digest) {
        let mut state = self.lock();
        if let Some(recent) = state.calls.get_mut(&person) {
            recent.pop_back();
            if recent.is_empty() {
                state.calls.remove(&person);
            }
        }
        // It is the last entry, unless another call was recorded in between. Then it stays behind as a stale entry.
        if state.touched.back().is_some_and(|(_, last)| *last == person) {
            state.touched.pop_back();
        }
    }

    /// Holds `person` after a refusal by the provider, each time for longer. Returns the length of the hold.
    pub(super) fn hold(&self, person: Digest, now: Instant) -> Duration {
        let mut state = self.lock();
        let Config { first, longest, .. } = state.config;
        // Entries are kept for `longest` after the hold has ended, so that the next hold can be longer.
        state.held.retain(|_, held| now < held.until + longest);
        if state.held.len() >= MOST_ENTRIES
            && let Some(first_to_end) = state.held.iter().min_by_key(|(_, held)| held.until).map(|(key, _)| *key)
        {
            state.held.remove(&first_to_end);
        }
        let length = match state.held.get(&person) {
            Some(held) if held.until > now => held.length,
            Some(held) => (held.length * 2).min(longest),
            None => first,
        };
        state.held.insert(person, Held { until: now + length, length });
        length
    }

    /// Removes everything about `person`, who may then be sent again at once. Returns whether there was anything.
    pub(super) fn forget(&self, person: Digest) -> bool {
        let mut state = self.lock();
        let (held, called) = (state.held.remove(&person), state.calls.remove(&person));
        if called.is_some() {
            state.touched.retain(|(_, other)| *other != person);
        }
        held.is_some() || called.is_some()
    }

    pub(super) fn active(&self, now: Instant) -> usize {
        self.lock().held.values().filter(|held| held.until > now).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // If a holder panics, `calls` and `touched` may differ by one entry, which is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_calls_before(&mut self, now: Instant, window: Duration) {
        while let Some((at, person)) = self.touched.front().copied() {
            if now.duration_since(at) < window && self.touched.len() < MOST_ENTRIES {
                break;
            }
            self.touched.pop_front();
            if let Some(recent) = self.calls.get_mut(&person) {
                while recent.front().is_some_and(|first| *first <= at) {
                    recent.pop_front();
                }
                if recent.is_empty() {
                    self.calls.remove(&person);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
