//! "Set aside": an account that the other side does not serve (arrears, a used-up package, a refused key) is left
//! alone for a long and growing time, apart from every breaker, because waiting seconds mends none of these and
//! the machines behind it are well.
//!
//! [`AccountSuspension::try_enter`] gives an [`Admission`] to every call while the account is in use, and after each
//! interval to exactly one: the trial. Invariants:
//!
//! - One fault sets the account aside. Of many calls in flight only the first to say so counts, so a burst
//!   does not make the interval grow; only a failed trial does.
//! - A trial that is dropped gives itself back; one not heard of for [`Config::first`] is written off.
//! - Only a trial's [`Admission::recovered`] or the operator's [`AccountSuspension::restore`] brings the account back.
//!
//! Generic over the reason, of which it only keeps a copy.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;
use tokio::time::Instant;

use crate::resilience::backoff::Backoff;

/// How long a faulty account is left alone. Durations are written like `1m` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The first interval, less up to a fifth by chance; doubles with each failed trial.
    #[serde(with = "friendly")]
    pub first: Duration,
    /// The longest interval, whatever the other side asks for.
    #[serde(with = "friendly")]
    pub max: Duration,
}

/// Whether one account is in use or set aside. Clones share it.
#[derive(Clone)]
pub struct AccountSuspension<R>(Arc<Mutex<Standing<R>>>);

/// The right to make one call with the account. Dropped without a word, it says nothing about the account.
#[must_use = "a dropped admission says nothing"]
pub struct Admission<R> {
    account: AccountSuspension<R>,
    epoch: u64,
    is_trial: bool,
}

/// The account is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account is set aside")]
pub struct Refused<R> {
    /// How long until the next trial may go, as far as is known.
    pub retry_after: Duration,
    /// What the account was set aside for.
    pub reason: R,
}

/// What can be seen of an account that is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<R> {
    /// The latest fault.
    pub reason: R,
    /// When the first fault came.
    pub since: Instant,
    /// Faults since then: the first, and one for each failed trial.
    pub faults: u32,
    /// How long until the next trial may go; zero when a caller may be it now.
    pub retry_after: Duration,
    /// Whether a trial is out.
    pub trial_out: bool,
}

struct Standing<R> {
    config: Config,
    backoff: Backoff,
    /// What an admission says counts only in the epoch that gave it; each fault, trial and return begins one.
    epoch: u64,
    aside: Option<Aside<R>>,
}

struct Aside<R> {
    reason: R,
    since: Instant,
    faults: u32,
    /// When the running interval began.
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
    /// An account in use. `config` is one that [`Config::validate`] finds nothing wrong with; `seed` decides the jitter.
    pub fn new(config: Config, seed: u64) -> Self {
        let standing = Standing { config, backoff: Backoff::new(seed), epoch: 0, aside: None };
        Self(Arc::new(Mutex::new(standing)))
    }

    /// Lets a call through: any while the account is in use, one trial when an interval is over.
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
        // A trial that was written off must not speak for the one that goes now.
        standing.epoch += u64::from(is_trial);
        Ok(Admission { account: self.clone(), epoch: standing.epoch, is_trial })
    }

    /// Puts the account back to use, because an operator says that the fault is mended.
    pub fn restore(&self) {
        self.lock().restore();
    }

    /// What to show of it; `None` while it is in use.
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
    /// The other side does not serve the account. `floor` is what it asked for, the least time to stay away.
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

    /// The other side served the account, whatever else it said; a trial puts the account back to use.
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
    /// The rest of the interval, or else of the lease of the trial that is out.
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
