//! Cached verdicts by keyed digest.

use std::time::Duration;

use arc_swap::ArcSwap;

use super::cache_key::CacheKey;
use super::config::Config;
use super::memory::Memory;
use super::remembered::Remembered;
use crate::domain::clock::Monotonic;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// Cached verdicts by person and scope.
#[derive(Debug)]
pub struct Cache {
    lifetimes: ArcSwap<Config>,
    memory: Memory,
}

impl Cache {
    pub fn memory(config: Config) -> Self {
        Self { memory: Memory::new(config.max_entries), lifetimes: ArcSwap::from_pointee(config) }
    }

    /// Applies the lifetimes of `config` to new and cached verdicts. The maximum number of entries does not change.
    pub fn reconfigure(&self, config: Config) {
        self.lifetimes.store(config.into());
    }

    /// The lifetime of `verdict` under the current configuration.
    pub fn lifetime(&self, verdict: Verdict) -> Duration {
        self.lifetimes.load().lifetime(verdict)
    }

    /// How long a question is not asked again that ended with an unknown outcome. No verdict, so never in this cache.
    pub fn unknown_lifetime(&self) -> Duration {
        self.lifetimes.load().unknown_ttl
    }

    /// The verdict cached at `key`, with its remaining lifetime.
    pub fn get(&self, key: &CacheKey, now: Monotonic) -> Option<(Remembered, Duration)> {
        let lifetimes = self.lifetimes.load();
        let found = self.memory.get(key, now, &lifetimes)?;
        let left = lifetimes.lifetime(found.verdict).checked_sub(found.age(now)).filter(|left| !left.is_zero())?;
        Some((found, left))
    }

    /// Caches a verdict given just now at `key`, replacing any earlier one.
    pub fn put(&self, key: &CacheKey, verdict: Remembered) {
        let lifetimes = self.lifetimes.load();
        // A verdict that is not cached still removes the earlier one: an outdated answer must never be served.
        if lifetimes.lifetime(verdict.verdict).is_zero() {
            self.memory.forget(key);
        } else {
            self.memory.put(key, verdict, &lifetimes);
        }
    }

    /// Caches a verdict of an earlier process, unless one is cached already.
    pub fn restore(&self, key: &CacheKey, verdict: Remembered, now: Monotonic) {
        let lifetimes = self.lifetimes.load();
        if !lifetimes.lifetime(verdict.verdict).is_zero() {
            self.memory.add(key, verdict, now, &lifetimes);
        }
    }

    /// Removes the verdict cached at `key`.
    pub fn forget(&self, key: &CacheKey) {
        self.memory.forget(key);
    }

    /// Removes the verdicts of every scope about `person`. Returns how many there were.
    pub fn forget_person(&self, person: &Digest) -> usize {
        self.memory.forget_person(person)
    }

    /// Removes every verdict: which of them still hold is not known.
    pub fn forget_all(&self) {
        self.memory.forget_all();
    }

    /// The number of cached verdicts. Also removes those that have lapsed, which needs somebody to ask when no
    /// questions come in.
    pub fn entries(&self, now: Monotonic) -> usize {
        self.memory.entries(now, &self.lifetimes.load())
    }

    /// The bytes that they take.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }
}
