//! Why is this provider out? One explicit, redacted view, for the operator and for the gauges.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::outcome::{Outcome, Reason};
use crate::providers::source::Miss;
use crate::resilience::breaker::{self, State};

/// One provider as it stands.
#[derive(Debug, Clone)]
pub struct ProviderStatus {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The driver that speaks its protocol.
    pub driver: &'static str,
    /// Whether it could be asked now.
    pub available: bool,
    /// Whether an operator has set it aside.
    pub isolated: bool,
    /// The account fault that sets it aside, if one does.
    pub account_fault: Option<AccountStatus>,
    /// The fetched credential, where one is fetched.
    pub credential: Option<CredentialStatus>,
    /// How much longer it asked us to pause.
    pub paused_for: Option<Duration>,
    /// Calls in flight.
    pub in_flight: usize,
    /// Persons held off it.
    pub holds: usize,
    /// Its endpoints in order.
    pub endpoints: Vec<EndpointStatus>,
}

/// An account fault as it stands.
#[derive(Debug, Clone, Copy)]
pub struct AccountStatus {
    /// What is wrong.
    pub reason: Reason,
    /// Since when.
    pub since: Duration,
    /// When the next trial is allowed.
    pub retry_after: Duration,
}

/// A fetched credential as it stands.
#[derive(Debug, Clone)]
pub struct CredentialStatus {
    /// Where it comes from, as configured.
    pub source: &'static str,
    /// Which of several gave the one in use.
    pub from: Option<&'static str>,
    /// How much longer the one in use is good, if there is one and it ends.
    pub expires_in: Option<Duration>,
    /// Why the last fetch gave nothing; empty if it gave something.
    pub misses: Vec<Miss>,
}

/// One endpoint's breaker as it stands.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Host and port.
    pub endpoint: Arc<str>,
    /// Flowing, probing or refusing.
    pub state: State,
    /// How long in this state.
    pub since: Duration,
    /// Why it left the closed state.
    pub reason: Option<breaker::Reason>,
    /// When it lets the next call through, if it refuses now.
    pub retry_after: Option<Duration>,
    /// The last fault that it counted.
    pub last_fault: Option<FaultStatus>,
}

/// A fault that an endpoint's breaker counted.
#[derive(Debug, Clone, Copy)]
pub struct FaultStatus {
    /// What the attempt came to.
    pub outcome: Outcome,
    /// The finer cause.
    pub reason: Reason,
    /// How long ago.
    pub since: Duration,
}
