//! What a breaker says of itself: the words of metrics, logs and the status page.
//!
//! Invariant: every label comes from a closed set, so a metric can exist at zero before anything happens.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Counts;

/// What a breaker does with callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Flowing.
    Closed,
    /// Probing.
    HalfOpen,
    /// Refusing.
    Open,
}

/// What the operator has forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forced {
    /// Refuse everything.
    Open,
    /// Admit everything.
    Closed,
}

/// Why the state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// To open: so many failures in a row.
    ConsecutiveFailures,
    /// To open: too large a share of failures in the window.
    FailureRatio,
    /// To open: too large a share of slow answers in the window.
    SlowRatio,
    /// Back to open: a probe failed or was slow.
    ProbeFailed,
    /// To half-open: the open time was over and a caller came.
    TimeOver,
    /// To closed: enough probes were good.
    ProbesPassed,
    /// The operator's doing.
    Forced,
}

/// One change of state, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state it left.
    pub from: State,
    /// The state it is in.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// The breaker admits no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is not closed")]
pub struct Refused {
    /// When to come again; `None` when only the operator can change that.
    pub retry_after: Option<Duration>,
}

/// What can be seen of a breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its state. An open breaker whose time is over stays open until a caller comes.
    pub state: State,
    /// What the operator has forced, if anything.
    pub forced: Option<Forced>,
    /// When it came to this state.
    pub since: Instant,
    /// Why it last opened; `None` while closed.
    pub reason: Option<Reason>,
    /// As [`super::Breaker::next_admission`].
    pub next_admission: Option<Duration>,
    /// The calls of the window.
    pub counts: Counts,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Probes that are out.
    pub probes_out: u32,
}

impl State {
    /// All three, for metrics.
    pub const ALL: [State; 3] = [State::Closed, State::HalfOpen, State::Open];

    /// The word used in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half_open",
            State::Open => "open",
        }
    }

    /// The value of the gauge: 0 closed, 1 half-open, 2 open.
    pub const fn number(self) -> u8 {
        match self {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        }
    }
}

impl Forced {
    /// The word used on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Forced::Open => "open",
            Forced::Closed => "closed",
        }
    }
}

impl Reason {
    /// All of them with the state they lead to, for metrics that exist at zero.
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

    /// The word used in metrics and on the status page.
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
