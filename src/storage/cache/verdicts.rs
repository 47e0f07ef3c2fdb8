//! Remembered verdicts by keyed digest.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::config::{Config, Lifetimes};
use super::memory::Memory;
use super::remembered::Remembered;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// Remembered verdicts by keyed digest of the question.
#[derive(Debug)]
pub struct Cache {
    lifetimes: Lifetimes,
    memory: Memory,
}

impl Cache {
    /// A cache in this process's memory.
    pub fn memory(config: Config) -> Self {
        let lifetimes = Arc::new(ArcSwap::from_pointee(config));
        let memory = Memory::new(&lifetimes);
        Self { lifetimes, memory }
    }

    /// Applies the lifetimes of `config` to new and to remembered verdicts. The number of entries stays as it was.
    pub fn reconfigure(&self, config: Config) {
        self.lifetimes.store(Arc::new(config));
    }

    /// The lifetime of `verdict` now.
    pub fn lifetime(&self, verdict: Verdict) -> Duration {
        self.lifetimes.load().lifetime(verdict)
    }

    /// The verdict remembered under `key`, with what is left of its lifetime.
    pub async fn get(&self, key: &Digest, now: Timestamp) -> Option<(Remembered, Duration)> {
        let found = self.memory.get(key).await?;
        // The configured lifetime decides, not the back end's timer, whose clock may differ.
        let left =
            self.lifetimes.load().lifetime(found.verdict).checked_sub(found.age(now)).filter(|left| !left.is_zero())?;
        Some((found, left))
    }

    /// Remembers a verdict under `key`, replacing the one before it.
    pub async fn put(&self, key: Digest, verdict: Remembered) {
        // A verdict that is not kept still replaces the one before it: an outdated answer must never be served.
        let keeps = !self.lifetimes.load().lifetime(verdict.verdict).is_zero();
        if keeps {
            self.memory.put(key, verdict).await;
        } else {
            self.memory.forget(&key).await;
        }
    }

    /// Forgets what is remembered under `key` and returns whether there was anything.
    pub async fn forget(&self, key: &Digest) -> bool {
        self.memory.forget(key).await
    }

    /// About how many verdicts are remembered now.
    pub fn entries(&self) -> u64 {
        self.memory.entries()
    }
}
