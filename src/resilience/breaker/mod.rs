//! A circuit breaker: closed admits calls, open refuses them, half-open lets probes through.
//!
//! [`Breaker::try_acquire`] returns a [`Permit`], which is consumed by reporting how the call ended. A timeout belongs
//! *inside* the life of the permit, so that it counts as a failure instead of a drop.
//!
//! ```text
//!            5 failures in a row, or too many failed or slow in the window
//!   Closed ──────────────────────────────────────────────────────────────▶ Open
//!     ▲                                                                     │ its time is over and a caller comes
//!     │ enough good probes                  a probe failed or was slow      ▼
//!     └────────────────────────── HalfOpen ◀──────────────────────────── (lazily)
//!                                     └──────── Open, twice as long
//! ```
//!
//! Invariants:
//! - A permit that is dropped or ends neutral counts nothing and frees its probe: a caller that gives up neither trips
//!   the breaker nor blocks it. A leaked probe is written off when its lease expires.
//! - A result counts only in the state that admitted the call; each change of state starts a new epoch.
//! - At most [`Config::probes`] leases exist at a time, under any contention.
//! - A state forced by an operator stays until the operator clears it.
//! - A call that trickles through changes no state: only probes close a breaker.
//!
//! `state` is the state machine, pure and single-threaded; this file puts a lock around it. A new way to trip needs a
//! [`Reason`] in `report` and a condition in `state`.

mod config;
mod report;
mod state;
mod window;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use config::Config;
pub use report::{Forced, Reason, Refused, Snapshot, State, Transition};
pub use window::Counts;

use state::{Machine, Ticket};

/// The breaker of one endpoint. Clones share it.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

/// The right to make one call. Report how it went; dropping it reports nothing.
#[must_use = "a dropped permit counts nothing"]
pub struct Permit {
    breaker: Breaker,
    ticket: Ticket,
}

struct Shared {
    machine: Mutex<Machine>,
    observer: Box<dyn Fn(Transition) + Send + Sync>,
}

impl Breaker {
    /// A closed breaker. `config` must have passed [`Config::validate`]; `seed` determines the jitter; `observer` is
    /// called for every change of state.
    ///
    /// The observer runs after the lock is released and may query the breaker. Two changes in quick succession may
    /// reach it in either order: use it for counters, and read gauges from [`Breaker::snapshot`].
    pub fn new(
        config: Arc<Config>,
        seed: u64,
        now: Instant,
        observer: impl Fn(Transition) + Send + Sync + 'static,
    ) -> Self {
        let machine = Mutex::new(Machine::new(config, seed, now));
        Self(Arc::new(Shared { machine, observer: Box::new(observer) }))
    }

    /// Admits or refuses a call immediately. An open breaker whose time is up becomes half-open here.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit, Refused> {
        let ticket = self.with(|machine| machine.admit(now))?;
        Ok(Permit { breaker: self.clone(), ticket })
    }

    /// Admits a call although the breaker is not closed, for a caller that has nobody else to ask:
    /// [`Config::trickle`] in a second, more while at least a quarter of them is answered, none while nothing is. Such a
    /// call changes no state.
    pub fn try_trickle(&self, now: Instant) -> Option<Permit> {
        let ticket = self.with(|machine| machine.admit_trickle(now))?;
        Some(Permit { breaker: self.clone(), ticket })
    }

    /// The share of recent calls that failed; `None` if [`Breaker::try_trickle`] would refuse whatever the time.
    pub fn failed_share(&self, now: Instant) -> Option<f64> {
        self.with(|machine| machine.failed_share(now))
    }

    /// Time until a call could be admitted: zero if it would be now, `None` if only the operator can change that. While
    /// all probes are in flight this is an estimate, never longer than [`Config::open_for`].
    pub fn next_admission(&self, now: Instant) -> Option<Duration> {
        self.with(|machine| machine.next_admission(now))
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.with(|machine| machine.snapshot(now))
    }

    /// Refuses everything until [`Breaker::clear_force`].
    pub fn force_open(&self, now: Instant) {
        self.with(|machine| machine.force(now, Some(Forced::Open)));
    }

    /// Admits everything until [`Breaker::clear_force`]. Calls are still counted, but do not trip the breaker.
    pub fn force_closed(&self, now: Instant) {
        self.with(|machine| machine.force(now, Some(Forced::Closed)));
    }

    /// Ends the forced state. A breaker forced open becomes half-open, so that a probe decides; one forced closed stays
    /// closed and keeps its counts.
    pub fn clear_force(&self, now: Instant) {
        self.with(|machine| machine.force(now, None));
    }

    /// Applies a new configuration. The state is kept, and so is the window unless its length changes.
    pub fn reconfigure(&self, now: Instant, config: Arc<Config>) {
        self.with(|machine| machine.reconfigure(now, config));
    }

    /// Runs `act` under the lock, then calls the observer without it.
    fn with<T>(&self, act: impl FnOnce(&mut Machine) -> T) -> T {
        let (result, moved) = {
            let mut machine = self.0.machine.lock().unwrap_or_else(PoisonError::into_inner);
            (act(&mut machine), machine.take_transition())
        };
        if let Some(transition) = moved {
            (self.0.observer)(transition);
        }
        result
    }
}

impl Permit {
    /// Reports an answer after `latency`. A probe that is slow counts as failed.
    pub fn success(self, now: Instant, latency: Duration) {
        self.breaker.with(|machine| machine.success(self.ticket, now, latency));
    }

    /// Reports a failure. `retry_after` is what the provider asked for: the minimum open time if this opens the
    /// breaker.
    pub fn failure(self, now: Instant, retry_after: Option<Duration>) {
        self.breaker.with(|machine| machine.failure(self.ticket, now, retry_after));
    }

    /// Reports that the call says nothing about the endpoint's health; the same as dropping the permit, but explicit.
    pub fn neutral(self) {}
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.ticket.is_probe() {
            self.breaker.with(|machine| machine.give_back(self.ticket));
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Breaker")
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.ticket).finish()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
