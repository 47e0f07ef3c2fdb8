//! Provider status for operators and gauges: why a provider is unavailable. Holds no secrets.

use std::sync::Arc;
use std::time::Duration;

use super::isolation::Isolated;
use crate::domain::money::Tariff;
use crate::domain::outcome::{Outcome, Reason};
use crate::providers::source::Miss;
use crate::resilience::breaker::{self, State};

/// The current status of one provider.
#[derive(Debug, Clone)]
pub struct ProviderStatus {
    pub name: Arc<str>,
    pub driver: &'static str,
    /// Why it cannot be asked now; `None` if it can.
    pub unavailable: Option<Unavailable>,
    /// Set aside by an operator.
    pub isolated: Option<Isolated>,
    /// The account fault that suspends it, if any.
    pub account_fault: Option<AccountStatus>,
    /// The fetched credential, if its credential is fetched.
    pub credential: Option<CredentialStatus>,
    /// The rest of the pause after it refused us for calling too fast.
    pub paused_for: Option<Duration>,
    /// Calls in flight.
    pub in_flight: usize,
    /// Persons on hold.
    pub holds: usize,
    pub prices: Tariff,
    /// First tried first.
    pub endpoints: Vec<EndpointStatus>,
}

/// Why a provider cannot be asked now. If several reasons apply, the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Unavailable {
    Isolated,
    AccountFault,
    /// It asked us to pause.
    Paused,
    /// The breakers of all its endpoints are open.
    BreakersOpen,
}

impl Unavailable {
    /// The name used on the status page.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// An account fault.
#[derive(Debug, Clone, Copy)]
pub struct AccountStatus {
    pub reason: Reason,
    /// Time since the first fault, or since the last fetch if no valid credential is in use.
    pub since: Duration,
    /// Time until the next trial is allowed.
    pub retry_after: Duration,
}

/// The status of a fetched credential.
#[derive(Debug, Clone)]
pub struct CredentialStatus {
    /// The configured source.
    pub source: &'static str,
    /// If the source consists of several, the one that gave the credential in use.
    pub from: Option<&'static str>,
    /// `None` if no credential is in use or if it does not expire.
    pub expires_in: Option<Duration>,
    /// Why the last fetch failed; empty if it succeeded.
    pub misses: Vec<Miss>,
}

/// The breaker of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Host and port.
    pub endpoint: Arc<str>,
    pub state: State,
    /// Time in this state.
    pub since: Duration,
    /// Why it left the closed state.
    pub reason: Option<breaker::Reason>,
    /// Time until the breaker admits the next call; `None` if it admits calls now or is forced open.
    pub retry_after: Option<Duration>,
    /// The last fault that the breaker counted.
    pub last_fault: Option<FaultStatus>,
}

/// A fault that the breaker of an endpoint counted.
#[derive(Debug, Clone, Copy)]
pub struct FaultStatus {
    pub outcome: Outcome,
    pub reason: Reason,
    /// Time since the fault.
    pub since: Duration,
}
