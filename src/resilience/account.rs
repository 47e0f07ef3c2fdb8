//! Account suspension: an account that the provider refuses to serve (arrears, a used-up package, a rejected key) is
//! left alone for a long, growing interval. This is separate from the breakers, because waiting a few seconds fixes
//! none of these faults and the provider's servers are healthy.
//!
//! [`AccountSuspension::try_enter`] gives an [`Admission`] to every call while the account is in use. While it is
//! suspended, exactly one call is admitted after each interval: the trial. Invariants:
//!
//! - One fault suspends the account. If many calls in flight report one, only the first counts, so a burst does not
//!   lengthen the interval; only a failed trial does.
//! - A dropped trial allows the next one. A trial that has reported nothing for [`Config::first`] is written off.
//! - Only [`Admission::recovered`] on a trial, or an operator's [`AccountSuspension::restore`], ends the suspension.
//!
//! Generic over the reason for the suspension, of which it only keeps a copy.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;
use tokio::time::Instant;

use crate::resilience::backoff::Backoff;

/// How long a faulty account stays suspended. Durations are written like `1m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The first interval, less a random 0 to 20 %. Doubles with each failed trial.
    #[serde(with = "friendly")]
    pub first: Duration,
    /// The longest interval, even if the provider asks for more.
    #[serde(with = "friendly")]
    pub max: Duration,
}

/// Whether one account is in use or suspended. Clones share the state.
#[derive(Clone)]
pub struct AccountSuspension<R>(Arc<Mutex<Standing<R>>>);

/// The right to make one call with the account. Dropping it reports nothing about the account.
#[must_use = "a dropped admission says nothing"]
pub struct Admission<R> {
    account: AccountSuspension<R>,
    epoch: u64,
    is_trial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account is set aside")]
pub struct Refused<R> {
    /// Estimated time until the next trial is admitted.
    pub retry_after: Duration,
    pub reason: R,
}

/// State of a suspended account, for display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<R> {
    /// The latest fault.
    pub reason: R,
    /// When the first fault was reported.
    pub since: Instant,
    /// Faults since then: the first one, plus one per failed trial.
    pub faults: u32,
    /// Time until the next trial; zero if one would be admitted now.
    pub retry_after: Duration,
    /// Whether a trial is in flight.
    pub trial_out: bool,
}

struct Standing<R> {
    config: Config,
    backoff: Backoff,
    /// A report counts only if its admission was given in the current epoch. Each fault, trial and recovery starts a
    /// new one.
    epoch: u64,
    aside: Option<Aside<R>>,
}

struct Aside<R> {
    reason: R,
    since: Instant,
    faults: u32,
    /// When the current interval began.
    began: Instant,
    stay: Duration,
    trial: Option<Instant>,
}

impl Config {
    /// All mistakes, as (key, advice).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let day = Duration::from_hours(24);
        let mut wrong = Vec::new();
        if !(Duration::from_secs(1)..=day).contains(&self.first) {
            wrong.push(("first", "write a time from 1s to 24h".to_owned()));
        }
        if self.max < self.first || self.max > day.max(self.first) {
            wrong.push(("max", "write a time from first to 24h".to_owned()));
        }
        wrong
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { first: Duration::from_mins(1), max: Duration::from_mins(30) }
    }
}

impl<R: Copy> AccountSuspension<R> {
    /// An account in use. `config` must have passed [`Config::validate`]; `seed` determines the jitter.
    pub fn new(config: Config, seed: u64) -> Self {
        let standing = Standing { config, backoff: Backoff::new(seed), epoch: 0, aside: None };
        Self(Arc::new(Mutex::new(standing)))
    }

    /// Admits every call while the account is in use, and one trial after each interval.
    pub fn try_enter(&self, now: Instant) -> Result<Admission<R>, Refused<R>> {
        let mut standing = self.lock();
        let first = standing.config.first;
        let is_trial = match &mut standing.aside {
            None => false,
            Some(aside) => match aside.retry_after(now, first) {
                Duration::ZERO => {
                    aside.trial = Some(now);
                    true
                }
                retry_after => return Err(Refused { retry_after, reason: aside.reason }),
            },
        };
        // A trial that was written off must not report for the new one.
        standing.epoch += u64::from(is_trial);
        Ok(Admission { account: self.clone(), epoch: standing.epoch, is_trial })
    }

    /// Ends the suspension because an operator says the fault is fixed.
    pub fn restore(&self) {
        self.lock().restore();
    }

    /// `None` while the account is in use.
    pub fn snapshot(&self, now: Instant) -> Option<Snapshot<R>> {
        let standing = self.lock();
        let first = standing.config.first;
        standing.aside.as_ref().map(|aside| Snapshot {
            reason: aside.reason,
            since: aside.since,
            faults: aside.faults,
            retry_after: aside.retry_after(now, first),
            trial_out: !aside.lease(now, first).is_zero(),
        })
    }
}

impl<R: Copy> Admission<R> {
    /// Reports that the provider does not serve the account. `floor` is the minimum delay it asked for.
    pub fn fault(self, now: Instant, reason: R, floor: Option<Duration>) {
        let mut standing = self.account.lock();
        if standing.epoch != self.epoch {
            return;
        }
        let Config { first, max } = standing.config;
        let stay = standing.backoff.next(first, max, floor);
        let (since, faults) = standing.aside.as_ref().map_or((now, 0), |aside| (aside.since, aside.faults));
        standing.aside = Some(Aside { reason, since, faults: faults.saturating_add(1), began: now, stay, trial: None });
        standing.epoch += 1;
    }

    /// Reports that the provider served the account, whatever its answer was. Ends the suspension if this was the
    /// trial.
    pub fn recovered(self) {
        let mut standing = self.account.lock();
        if self.is_trial && standing.epoch == self.epoch {
            standing.restore();
        }
    }
}

impl<R> AccountSuspension<R> {
    fn lock(&self) -> MutexGuard<'_, Standing<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Drop for Admission<R> {
    fn drop(&mut self) {
        if !self.is_trial {
            return;
        }
        let mut standing = self.account.lock();
        let is_latest = standing.epoch == self.epoch;
        if let Some(aside) = standing.aside.as_mut().filter(|_| is_latest) {
            aside.trial = None;
        }
    }
}

impl<R> Standing<R> {
    fn restore(&mut self) {
        if self.aside.take().is_some() {
            self.backoff.reset();
            self.epoch += 1;
        }
    }
}

impl<R> Aside<R> {
    /// Time left of the interval; after that, of the lease of the trial in flight.
    fn retry_after(&self, now: Instant, lease: Duration) -> Duration {
        let left = self.stay.saturating_sub(now.saturating_duration_since(self.began));
        if left.is_zero() { self.lease(now, lease) } else { left }
    }

    fn lease(&self, now: Instant, lease: Duration) -> Duration {
        self.trial.map_or(Duration::ZERO, |since| lease.saturating_sub(now.saturating_duration_since(since)))
    }
}

impl<R> fmt::Debug for AccountSuspension<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountSuspension")
    }
}

#[cfg(test)]
mod tests;
