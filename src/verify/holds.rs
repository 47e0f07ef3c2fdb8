//! Persons that must not be sent to a provider for some time.
//!
//! A provider that has called a person "repeated" would only do so again, and for longer. And because nobody knows
//! its threshold, a limit of our own stops us before it does. Keys are keyed digests: no person is kept here.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::subject::Digest;

/// Bounds the memory of both tables, some 100 bytes an entry.
const MOST_ENTRIES: usize = 200_000;

/// The longest of all times here. Beyond it lies a mistake, and far beyond it the end of what a clock can tell.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Section `[holds]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The first hold after a provider says "repeated"; each further one is twice as long.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub first: Duration,
    /// The longest hold.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub longest: Duration,
    /// The most calls per person and provider in `window`.
    pub calls: usize,
    /// The window of that limit.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
}

/// The holds of one provider.
#[derive(Debug)]
pub(super) struct Holds(Mutex<State>);

#[derive(Debug)]
struct State {
    config: Config,
    held: HashMap<Digest, Held>,
    calls: HashMap<Digest, VecDeque<Instant>>,
    /// The order in which `calls` entries were last touched, for cheap removal; may hold stale pairs.
    touched: VecDeque<(Instant, Digest)>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Instant,
    length: Duration,
}

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
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

    /// Goes on with other settings; what is held stays held for as long as was said.
    pub(super) fn reconfigure(&self, config: Config) {
        self.lock().config = config;
    }

    /// Counts a call about `person`, or returns how long it must wait.
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

    /// Removes the count of a call that was not made.
    pub(super) fn cancel_call(&self, person: Digest) {
        let mut state = self.lock();
        if let Some(recent) = state.calls.get_mut(&person) {
            recent.pop_back();
            if recent.is_empty() {
                state.calls.remove(&person);
            }
        }
        // It is the last one, unless somebody else booked in between; then it stays and is found to be stale.
        if state.touched.back().is_some_and(|(_, last)| *last == person) {
            state.touched.pop_back();
        }
    }

    /// The provider refuses `person`: holds it, longer each time. Returns the length of the hold.
    pub(super) fn hold(&self, person: Digest, now: Instant) -> Duration {
        let mut state = self.lock();
        let Config { first, longest, .. } = state.config;
        // A hold is remembered for the longest hold after its end, so that the next one can be longer.
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

    /// Forgets everything about `person`, who may then be sent again at once; whether there was anything.
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
        // A panic while the lock was held leaves whole entries behind: every change here is a single insert or remove.
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
