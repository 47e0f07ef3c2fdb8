//! What a breaker reports to metrics, logs and the status page.
//!
//! Invariant: every label comes from a closed set, so a metric can be exported as zero before anything happens.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Counts;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Admits calls.
    Closed,
    /// Admits probes only.
    HalfOpen,
    /// Refuses calls.
    Open,
}

/// The state an operator has forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forced {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// To open: too many failures in a row.
    ConsecutiveFailures,
    /// To open: too large a share of failed calls in the window.
    FailureRatio,
    SlowRatio,
    /// Back to open: a probe failed or was slow.
    ProbeFailed,
    /// To half-open: the open time was up and a caller came.
    TimeOver,
    /// To closed: enough probes succeeded.
    ProbesPassed,
    /// Set or cleared by an operator.
    Forced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub from: State,
    pub to: State,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is not closed")]
pub struct Refused {
    /// When to retry; `None` if only the operator can change that.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// An open breaker whose time is up stays open until a caller comes.
    pub state: State,
    pub forced: Option<Forced>,
    /// When it entered this state.
    pub since: Instant,
    /// Why it last opened; `None` while closed.
    pub reason: Option<Reason>,
    pub next_admission: Option<Duration>,
    pub counts: Counts,
    pub failures_in_a_row: u32,
    /// Probes in flight.
    pub probes_out: u32,
}

impl State {
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    pub const fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }

    /// The value of the gauge.
    pub const fn number(self) -> u8 {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }
}

impl Forced {
    pub const fn as_str(self) -> &'static str {
        match self {
            Forced::Open => "open",
            Forced::Closed => "closed",
        }
    }
}

impl Reason {
    /// Every reason with the state it leads to, so that metrics can start at zero.
    pub const ALL: [(State, Reason); 9] = [
        (State::Open, Reason::ConsecutiveFailures),
        (State::Open, Reason::FailureRatio),
        (State::Open, Reason::SlowRatio),
        (State::Open, Reason::ProbeFailed),
        (State::Open, Reason::Forced),
        (State::HalfOpen, Reason::TimeOver),
        (State::HalfOpen, Reason::Forced),
        (State::Closed, Reason::ProbesPassed),
        (State::Closed, Reason::Forced),
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::ConsecutiveFailures => "consecutive_failures",
            Reason::FailureRatio => "failure_ratio",
            Reason::SlowRatio => "slow_ratio",
            Reason::ProbeFailed => "probe_failed",
            Reason::TimeOver => "time_over",
            Reason::ProbesPassed => "probes_passed",
            Reason::Forced => "forced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_the_states_are_those_of_the_metrics() {
        let shown: Vec<_> = State::ALL.iter().map(|state| (state.as_str(), state.number())).collect();
        assert_eq!(shown, [("closed", 0), ("half_open", 1), ("open", 2)]);
    }
}
