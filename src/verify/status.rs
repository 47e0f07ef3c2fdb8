//! Why is this provider out? One explicit, redacted view, for the operator and for the gauges.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::provider::Provider;
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

pub(super) fn of(provider: &Provider, now: Instant) -> ProviderStatus {
    let account = &provider.account;
    let endpoints: Vec<_> = provider
        .endpoints
        .iter()
        .map(|link| {
            let seen = link.breaker.snapshot(now);
            EndpointStatus {
                endpoint: Arc::clone(&link.endpoint),
                state: seen.state,
                since: now.saturating_duration_since(seen.since),
                reason: seen.reason,
                retry_after: seen.next_admission.filter(|wait| !wait.is_zero()),
                last_fault: link.last_fault().map(|fault| FaultStatus {
                    outcome: fault.outcome,
                    reason: fault.reason,
                    since: now.saturating_duration_since(fault.at),
                }),
            }
        })
        .collect();
    let account_fault = account.standing.snapshot(now).map(|fault| AccountStatus {
        reason: fault.reason,
        since: now.saturating_duration_since(fault.since),
        retry_after: fault.retry_after,
    });
    let account_fault = account_fault.or_else(|| account.keys.lack(now));
    let isolated = account.is_isolated();
    ProviderStatus {
        name: Arc::clone(&account.name),
        driver: account.driver.name,
        available: !isolated
            && account_fault.is_none()
            && endpoints.iter().any(|endpoint| endpoint.state != State::Open),
        isolated,
        account_fault,
        credential: account.keys.status(),
        paused_for: account.limiter.paused_for(now),
        in_flight: account.bulkhead.in_use(),
        holds: account.holds.active(now),
        endpoints,
    }
}
