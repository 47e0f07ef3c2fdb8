//! A circuit breaker: closed = flowing, open = refusing, half-open = probing.
//!
//! [`Breaker::try_acquire`] gives a [`Permit`]; the call's end is told to the permit, which is consumed. A deadline
//! belongs *inside* the permit's life, so that a timeout is a failure and not a drop.
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
//! - A permit that is dropped, or ends neutral, counts nothing and gives its probe back: an impatient caller
//!   neither trips the breaker nor wedges it. A leaked one is written off when its lease ends.
//! - A result counts only in the state that admitted it (each change of state begins a new epoch).
//! - No more than [`Config::probes`] leases are out, under any contention.
//! - What an operator forces stays until the operator clears it.
//!
//! `state` is the machine, pure and single-threaded; this file is its lock. To add a way to trip, add a
//! [`Reason`] in `report` and one condition in `state`.

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

/// The right to make one call. Say how it went; dropped without a word, it was never there.
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
    /// A closed breaker. `config` is one that [`Config::validate`] finds nothing wrong with; `seed` decides the
    /// jitter; `observer` hears of every change of state.
    ///
    /// The observer is called after the lock is released and may look at the breaker. Two changes in quick
    /// succession may reach it in either order: count from it, but read a gauge from [`Breaker::snapshot`].
    pub fn new(
        config: Arc<Config>,
        seed: u64,
        now: Instant,
        observer: impl Fn(Transition) + Send + Sync + 'static,
    ) -> Self {
        let machine = Mutex::new(Machine::new(config, seed, now));
        Self(Arc::new(Shared { machine, observer: Box::new(observer) }))
    }

    /// Admits one call, or refuses at once. An open breaker whose time is over turns half-open here.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit, Refused> {
        let ticket = self.with(|machine| machine.admit(now))?;
        Ok(Permit { breaker: self.clone(), ticket })
    }

    /// How long until a call could be admitted: zero when one would be now, `None` when only the operator can
    /// change that. While all probes are out it is a guess, never longer than [`Config::open_for`].
    pub fn next_admission(&self, now: Instant) -> Option<Duration> {
        self.with(|machine| machine.next_admission(now))
    }

    /// What to show of it.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.with(|machine| machine.snapshot(now))
    }

    /// Refuses everything until [`Breaker::clear_force`].
    pub fn force_open(&self, now: Instant) {
        self.with(|machine| machine.force(now, Some(Forced::Open)));
    }

    /// Admits everything until [`Breaker::clear_force`]; goes on counting, and does not trip.
    pub fn force_closed(&self, now: Instant) {
        self.with(|machine| machine.force(now, Some(Forced::Closed)));
    }

    /// Takes the force away: a breaker forced open goes on half-open, so that a probe decides; one forced
    /// closed goes on closed, with what it has counted.
    pub fn clear_force(&self, now: Instant) {
        self.with(|machine| machine.force(now, None));
    }

    /// Goes on under another configuration; the state stays, and the window if its length does.
    pub fn reconfigure(&self, now: Instant, config: Arc<Config>) {
        self.with(|machine| machine.reconfigure(now, config));
    }

    /// Acts under the lock, then tells the observer outside it.
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
    /// The call was answered after `latency`. As a probe it fails when that is slow.
    pub fn success(self, now: Instant, latency: Duration) {
        self.breaker.with(|machine| machine.success(self.ticket, now, latency));
    }

    /// The call failed; `retry_after` is what the other side asked for, the least time to stay open if this opens it.
    pub fn failure(self, now: Instant, retry_after: Option<Duration>) {
        self.breaker.with(|machine| machine.failure(self.ticket, now, retry_after));
    }

    /// The call says nothing about the endpoint's health; the same as dropping the permit, said aloud.
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
