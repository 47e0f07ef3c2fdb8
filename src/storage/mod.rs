//! What outlives a request: remembered verdicts, and the ledger (a room of its own, with a word of its own).
//!
//! Invariants: only a [`Remembered`] verdict can be stored, so a failure never is; values hold no person, keys are
//! keyed digests; a back end that is slow or down costs speed, never an answer. To add a back end: one arm of
//! [`Cache`], with the same raw operations; what they mean is written once, here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};

pub mod ledger;
mod memory;

/// The longest lifetime that a verdict may be given: names, numbers and registers change.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Section `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a `match` is remembered; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub match_ttl: Duration,
    /// How long a `mismatch` is remembered; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub mismatch_ttl: Duration,
    /// How long a `no_record` is remembered; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub no_record_ttl: Duration,
    /// How many verdicts are kept; the least recently used goes first.
    pub max_entries: u64,
    /// Whether one client may be given what another has asked.
    pub sharing: Sharing,
}

/// Who shares remembered verdicts and calls in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// All clients.
    Shared,
    /// Each client has a memory of its own.
    PerClient,
}

/// A verdict as it is kept: who really answered, when, and their reference. Nobody's name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The verdict.
    pub verdict: Verdict,
    /// The provider that gave it, which need not be the first of the chain.
    pub provider: Arc<str>,
    /// The provider's reference.
    pub request_id: Option<RequestId>,
    /// When the provider answered.
    pub verified_at: Timestamp,
}

/// Remembered verdicts by keyed digest of the question.
#[derive(Debug)]
pub struct Cache {
    lifetimes: Lifetimes,
    backend: Backend,
}

/// The lifetimes of the moment, for the door and for the back end's own timer.
type Lifetimes = Arc<ArcSwap<Config>>;

#[derive(Debug)]
enum Backend {
    Memory(memory::Memory),
}

impl Config {
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        for (key, lifetime) in
            [("match_ttl", self.match_ttl), ("mismatch_ttl", self.mismatch_ttl), ("no_record_ttl", self.no_record_ttl)]
        {
            if lifetime > LONGEST_LIFETIME {
                mistakes.push((key, "is longer than a day; write at most \"24h\"".to_owned()));
            }
        }
        if self.max_entries == 0 {
            mistakes.push(("max_entries", "is 0; to remember nothing set the three lifetimes to \"0s\"".to_owned()));
        }
        mistakes
    }

    /// The lifetime of `verdict`; zero means that it is not remembered.
    pub const fn lifetime(&self, verdict: Verdict) -> Duration {
        match verdict {
            Verdict::Match => self.match_ttl,
            Verdict::Mismatch => self.mismatch_ttl,
            Verdict::NoRecord => self.no_record_ttl,
        }
    }
}

impl Remembered {
    /// How long ago the provider answered; zero if the clock went back.
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.verified_at).max(SignedDuration::ZERO)).unwrap_or_default()
    }
}

impl Cache {
    /// A cache in this process's memory.
    pub fn memory(config: Config) -> Self {
        let lifetimes = Arc::new(ArcSwap::from_pointee(config));
        let backend = Backend::Memory(memory::Memory::new(&lifetimes));
        Self { lifetimes, backend }
    }

    /// Goes on with the lifetimes of `config`; a shorter one also ends what is remembered already. How many are kept stays.
    pub fn reconfigure(&self, config: Config) {
        self.lifetimes.store(Arc::new(config));
    }

    /// The lifetime of `verdict` now.
    pub fn lifetime(&self, verdict: Verdict) -> Duration {
        self.lifetimes.load().lifetime(verdict)
    }

    /// The verdict remembered under `key`, with what is left of its life.
    pub async fn get(&self, key: &Digest, now: Timestamp) -> Option<(Remembered, Duration)> {
        let found = match &self.backend {
            Backend::Memory(memory) => memory.get(key).await,
        }?;
        // The configured lifetime decides, not the back end's timer: it holds whatever the back end's clock does.
        let left =
            self.lifetimes.load().lifetime(found.verdict).checked_sub(found.age(now)).filter(|left| !left.is_zero())?;
        Some((found, left))
    }

    /// Remembers a verdict under `key`, in place of any before it.
    pub async fn put(&self, key: Digest, verdict: Remembered) {
        // A verdict that is not kept still ends the one before it: nobody is told what the last answer has overtaken.
        let keeps = !self.lifetimes.load().lifetime(verdict.verdict).is_zero();
        match &self.backend {
            Backend::Memory(memory) if keeps => memory.put(key, verdict).await,
            Backend::Memory(memory) => drop(memory.forget(&key).await),
        }
    }

    /// Forgets what is remembered under `key`; whether there was anything.
    pub async fn forget(&self, key: &Digest) -> bool {
        match &self.backend {
            Backend::Memory(memory) => memory.forget(key).await,
        }
    }

    /// About how many verdicts are remembered now.
    pub fn entries(&self) -> u64 {
        match &self.backend {
            Backend::Memory(memory) => memory.entries(),
        }
    }
}

#[cfg(test)]
mod tests;
