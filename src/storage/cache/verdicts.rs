//! Cached verdicts by keyed digest.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::config::{Config, Lifetimes};
use super::memory::Memory;
use super::remembered::Remembered;
use crate::domain::clock::Monotonic;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// Cached verdicts by keyed digest of the question.
#[derive(Debug)]
pub struct Cache {
    lifetimes: Lifetimes,
    memory: Memory,
}

impl Cache {
    pub fn memory(config: Config) -> Self {
        let lifetimes = Arc::new(ArcSwap::from_pointee(config));
        let memory = Memory::new(&lifetimes);
        Self { lifetimes, memory }
    }

    /// Applies the lifetimes of `config` to new and cached verdicts. The maximum number of entries does not change.
    pub fn reconfigure(&self, config: Config) {
        self.lifetimes.store(Arc::new(config));
    }

    /// The lifetime of `verdict` under the current configuration.
    pub fn lifetime(&self, verdict: Verdict) -> Duration {
        self.lifetimes.load().lifetime(verdict)
    }

    /// How long a question is not asked again that ended with an unknown outcome. No verdict, so never in this cache.
    pub fn unknown_lifetime(&self) -> Duration {
        self.lifetimes.load().unknown_ttl
    }

    /// The verdict cached under `key`, with its remaining lifetime.
    pub async fn get(&self, key: &Digest, now: Monotonic) -> Option<(Remembered, Duration)> {
        let found = self.memory.get(key, now).await?;
        // The configured lifetime decides, not moka's timer, which runs on a different clock.
        let left =
            self.lifetimes.load().lifetime(found.verdict).checked_sub(found.age(now)).filter(|left| !left.is_zero())?;
        Some((found, left))
    }

    /// Caches a verdict under `key`, replacing any earlier one.
    pub async fn put(&self, key: Digest, verdict: Remembered) {
        // A verdict that is not cached still removes the earlier one: an outdated answer must never be served.
        let keeps = !self.lifetimes.load().lifetime(verdict.verdict).is_zero();
        if keeps {
            self.memory.put(key, verdict).await;
        } else {
            self.memory.forget(&key).await;
        }
    }

    /// Caches a verdict of an earlier process, unless one is cached already.
    pub async fn restore(&self, key: Digest, verdict: Remembered) {
        if !self.lifetimes.load().lifetime(verdict.verdict).is_zero() {
            self.memory.add(key, verdict).await;
        }
    }

    /// Removes the verdict cached under `key` and returns whether there was one.
    pub async fn forget(&self, key: &Digest) -> bool {
        self.memory.forget(key).await
    }

    /// The approximate number of cached verdicts.
    pub fn entries(&self) -> u64 {
        self.memory.entries()
    }
}
