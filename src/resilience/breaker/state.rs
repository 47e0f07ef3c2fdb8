//! The state machine: the effect of each event in each state. Pure: it has no lock and no clock, and calls no observer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::report::{Forced, Reason, Refused, Snapshot, State, Transition};
use super::window::{Counts, End, Window};
use crate::resilience::backoff::Backoff;

/// What a permit carries: the epoch that admitted it, and the number of its probe, if it is one.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    epoch: u64,
    probe: Option<u64>,
    /// Admitted by [`Machine::admit_trickle`]: counts nowhere but in `recent`.
    trickles: bool,
}

/// Number of calls that may trickle through for each recent call that was answered. So an endpoint that goes on to answer
/// a quarter of its calls gets all of them.
const EARNED_BY_AN_ANSWER: u32 = 4;

/// The state of one breaker. The methods correspond to those of [`super::Breaker`] and [`super::Permit`].
pub struct Machine {
    config: Arc<Config>,
    phase: Phase,
    since: Instant,
    /// Number of state changes so far. Results from an earlier epoch are ignored.
    epoch: u64,
    forced: Option<Forced>,
    opened_by: Option<Reason>,
    failures_in_a_row: u32,
    window: Window,
    /// Every call of the last [`Config::window`], in whatever state it was made.
    recent: Window,
    /// When the next call may trickle through that no answer has earned.
    next_trickle: Instant,
    /// Number of calls that answers have earned, at most [`Config::trickle`].
    earned: u32,
    backoff: Backoff,
    moved: Option<Transition>,
}

enum Phase {
    Closed,
    Open { stay: Duration },
    HalfOpen(Probing),
}

#[derive(Default)]
struct Probing {
    /// The probes in flight: number and start.
    out: Vec<(u64, Instant)>,
    sent: u64,
    passed: u32,
}

impl Machine {
    pub fn new(config: Arc<Config>, seed: u64, now: Instant) -> Self {
        Self {
            phase: Phase::Closed,
            since: now,
            epoch: 0,
            forced: None,
            opened_by: None,
            failures_in_a_row: 0,
            window: Window::new(config.window, now),
            recent: Window::new(config.window, now),
            next_trickle: now,
            earned: 0,
            backoff: Backoff::new(seed),
            moved: None,
            config,
        }
    }

    pub fn admit(&mut self, now: Instant) -> Result<Ticket, Refused> {
        match self.next_admission(now) {
            Some(Duration::ZERO) => {}
            retry_after => return Err(Refused { retry_after }),
        }
        if let Phase::Open { .. } = self.phase {
            self.shift(now, Phase::HalfOpen(Probing::default()), Reason::TimeOver);
        }
        let probe = match &mut self.phase {
            Phase::HalfOpen(probing) => Some(probing.send(now, self.config.probe_lease)),
            Phase::Closed | Phase::Open { .. } => None,
        };
        Ok(Ticket { epoch: self.epoch, probe, trickles: false })
    }

    /// Admits a call that [`Machine::admit`] refuses: [`Config::trickle`] in a second, and those that answers have earned.
    pub fn admit_trickle(&mut self, now: Instant) -> Option<Ticket> {
        self.failed_share(now)?;
        let pause = Duration::from_secs(1).checked_div(self.config.trickle)?;
        if now >= self.next_trickle {
            self.next_trickle = now.checked_add(pause)?;
        } else {
            self.earned = self.earned.checked_sub(1)?;
        }
        Some(Ticket { epoch: self.epoch, probe: None, trickles: true })
    }

    /// The share of recent calls that failed, if calls may trickle through: not closed, nothing forced, and some calls
    /// are still answered. Probes alone find out when an endpoint that answers nothing is back.
    pub fn failed_share(&self, now: Instant) -> Option<f64> {
        let Counts { calls, failed, .. } = self.recent.counts(now);
        let may_trickle = !matches!(self.phase, Phase::Closed) && self.forced.is_none() && calls > failed;
        may_trickle.then(|| f64::from(failed) / f64::from(calls))
    }

    pub fn next_admission(&self, now: Instant) -> Option<Duration> {
        match &self.phase {
            Phase::Closed => Some(Duration::ZERO),
            Phase::Open { .. } if self.forced.is_some() => None,
            Phase::Open { stay } => Some(left(self.since, *stay, now)),
            Phase::HalfOpen(probing) => {
                let leases = probing.leases(now, self.config.probe_lease);
                let room = leases.clone().count() < self.config.probes as usize;
                // It is unknown when a probe will end, but most end long before their lease expires.
                let guess = leases.min().unwrap_or_default().min(self.config.open_for);
                Some(if room { Duration::ZERO } else { guess })
            }
        }
    }

    pub fn success(&mut self, ticket: Ticket, now: Instant, latency: Duration) {
        let slow = latency >= self.config.slow_call;
        self.recent.record(now, if slow { End::Slow } else { End::Good });
        // Bounded, so that an endpoint that stops answering is soon left alone.
        self.earned = self.earned.saturating_add(EARNED_BY_AN_ANSWER).min(self.config.trickle);
        if ticket.epoch != self.epoch || ticket.trickles {
            return;
        }
        match &mut self.phase {
            Phase::Closed => {
                self.failures_in_a_row = 0;
                self.window.record(now, if slow { End::Slow } else { End::Good });
                let Config { slow_ratio, minimum_calls, .. } = *self.config;
                if slow && self.window.counts(now).slow_share_reaches(slow_ratio, minimum_calls) {
                    self.trip(now, Reason::SlowRatio, None);
                }
            }
            Phase::HalfOpen(_) if slow => self.trip(now, Reason::ProbeFailed, None),
            Phase::HalfOpen(probing) => {
                probing.passed += 1;
                if probing.passed >= self.config.successes_to_close {
                    self.shift(now, Phase::Closed, Reason::ProbesPassed);
                }
            }
            Phase::Open { .. } => {}
        }
    }

    pub fn failure(&mut self, ticket: Ticket, now: Instant, retry_after: Option<Duration>) {
        self.recent.record(now, End::Failed);
        if ticket.epoch != self.epoch || ticket.trickles {
            return;
        }
        match self.phase {
            Phase::Closed => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.window.record(now, End::Failed);
                let Config { consecutive_failures, failure_ratio, minimum_calls, .. } = *self.config;
                if self.failures_in_a_row >= consecutive_failures {
                    self.trip(now, Reason::ConsecutiveFailures, retry_after);
                } else if self.window.counts(now).failed_share_reaches(failure_ratio, minimum_calls) {
                    self.trip(now, Reason::FailureRatio, retry_after);
                }
            }
            Phase::HalfOpen(_) => self.trip(now, Reason::ProbeFailed, retry_after),
            Phase::Open { .. } => {}
        }
    }

    pub fn give_back(&mut self, ticket: Ticket) {
        if let Phase::HalfOpen(probing) = &mut self.phase
            && ticket.epoch == self.epoch
        {
            probing.out.retain(|&(probe, _)| Some(probe) != ticket.probe);
        }
    }

    pub fn force(&mut self, now: Instant, forced: Option<Forced>) {
        let before = std::mem::replace(&mut self.forced, forced);
        match (before, forced) {
            (before, after) if before == after => {}
            (_, Some(Forced::Open)) => self.shift(now, Phase::Open { stay: Duration::MAX }, Reason::Forced),
            (_, Some(Forced::Closed)) => self.shift(now, Phase::Closed, Reason::Forced),
            (Some(Forced::Open), None) => self.shift(now, Phase::HalfOpen(Probing::default()), Reason::Forced),
            (_, None) => {}
        }
    }

    pub fn reconfigure(&mut self, now: Instant, config: Arc<Config>) {
        if config.window != self.window.length() {
            self.window = Window::new(config.window, now);
            self.recent = Window::new(config.window, now);
        }
        self.config = config;
    }

    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let probes_out = match &self.phase {
            Phase::HalfOpen(probing) => probing.leases(now, self.config.probe_lease).count(),
            Phase::Closed | Phase::Open { .. } => 0,
        };
        Snapshot {
            state: self.state(),
            forced: self.forced,
            since: self.since,
            reason: self.opened_by,
            next_admission: self.next_admission(now),
            counts: self.window.counts(now),
            failures_in_a_row: self.failures_in_a_row,
            probes_out: u32::try_from(probes_out).unwrap_or(u32::MAX),
        }
    }

    /// The change of state since the last call. One event causes at most one.
    pub fn take_transition(&mut self) -> Option<Transition> {
        self.moved.take()
    }

    fn trip(&mut self, now: Instant, reason: Reason, retry_after: Option<Duration>) {
        if self.forced == Some(Forced::Closed) {
            return;
        }
        let closed = matches!(self.phase, Phase::Closed);
        if closed && now.saturating_duration_since(self.since) >= self.config.stable_after {
            self.backoff.reset();
        }
        let stay = self.backoff.next(self.config.open_for, self.config.open_max, retry_after);
        self.shift(now, Phase::Open { stay }, reason);
    }

    /// Enters a state and starts a new epoch. The closed state starts with empty counts.
    fn shift(&mut self, now: Instant, phase: Phase, reason: Reason) {
        let from = self.state();
        self.phase = phase;
        self.since = now;
        self.epoch += 1;
        match self.state() {
            State::Closed => {
                self.opened_by = None;
                self.failures_in_a_row = 0;
                self.window = Window::new(self.config.window, now);
            }
            State::Open => self.opened_by = Some(reason),
            State::HalfOpen => {}
        }
        let to = self.state();
        if from != to {
            self.moved = Some(Transition { from, to, reason });
        }
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }
}

impl Probing {
    /// Time left of each unexpired lease.
    fn leases(&self, now: Instant, lease: Duration) -> impl Iterator<Item = Duration> + Clone {
        self.out.iter().map(move |&(_, since)| left(since, lease, now)).filter(|left| !left.is_zero())
    }

    /// Drops probes whose lease has expired, and adds a new one.
    fn send(&mut self, now: Instant, lease: Duration) -> u64 {
        self.out.retain(|&(_, since)| !left(since, lease, now).is_zero());
        self.sent += 1;
        self.out.push((self.sent, now));
        self.sent
    }
}

impl Ticket {
    pub fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// Time left at `now` of a period of length `time` that began at `since`.
fn left(since: Instant, time: Duration, now: Instant) -> Duration {
    time.saturating_sub(now.saturating_duration_since(since))
}
