//! Section `[cache]`.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::verdict::Verdict;

/// The longest lifetime that can be configured: names, numbers and registers change.
pub const LONGEST_LIFETIME: Duration = Duration::from_hours(24);

/// Section `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a `match` is cached; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub match_ttl: Duration,
    /// How long a `mismatch` is cached; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub mismatch_ttl: Duration,
    /// How long a `no_record` is cached; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub no_record_ttl: Duration,
    /// How long a question is not asked again after its calls brought no answer; zero turns it off.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub unknown_ttl: Duration,
    /// The maximum number of cached verdicts; the least recently used is evicted first.
    pub max_entries: u64,
    /// Whether one client may get a verdict that another client asked for.
    pub sharing: Sharing,
}

/// Which clients share cached verdicts and calls in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    Shared,
    /// Each client has a cache of its own.
    PerClient,
}

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        for (key, lifetime) in [
            ("match_ttl", self.match_ttl),
            ("mismatch_ttl", self.mismatch_ttl),
            ("no_record_ttl", self.no_record_ttl),
            ("unknown_ttl", self.unknown_ttl),
        ] {
            if lifetime > LONGEST_LIFETIME {
                mistakes.push((key, "is longer than a day; write at most \"24h\"".to_owned()));
            }
        }
        if self.max_entries == 0 {
            mistakes.push(("max_entries", "is 0; to remember nothing set the three lifetimes to \"0s\"".to_owned()));
        }
        mistakes
    }

    /// The lifetime of `verdict`; zero means that it is not cached.
    pub const fn lifetime(&self, verdict: Verdict) -> Duration {
        match verdict {
            Verdict::Match => self.match_ttl,
            Verdict::Mismatch => self.mismatch_ttl,
            Verdict::NoRecord => self.no_record_ttl,
        }
    }
}
