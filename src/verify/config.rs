//! The validated configuration of a runtime.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::billing::Package;
use super::outbound::dns;
use super::outbound::settings::Outbound;
use super::{enumeration, holds, policy};
use crate::domain::money::Tariff;
use crate::providers::{Configured, Credential, Driver, Endpoint};
use crate::resilience;
use crate::resilience::spending::Limits;
use crate::storage::Sharing;

/// The validated configuration of a runtime.
#[derive(Debug, Clone)]
pub struct Config {
    pub providers: Vec<ProviderConfig>,
    /// Section `[chain]`.
    pub chain: policy::Config,
    /// Sections `[purposes.NAME]`.
    pub purposes: BTreeMap<String, policy::Purpose>,
    /// Section `[breaker]`, for every endpoint.
    pub breaker: Arc<resilience::breaker::Config>,
    /// Section `[account]`, for every provider.
    pub account: resilience::account::Config,
    /// Section `[holds]`, for every provider.
    pub holds: holds::Config,
    /// Section `[enumeration]`.
    pub enumeration: enumeration::Config,
    /// The names of all clients.
    pub clients: Vec<Arc<str>>,
    /// Weights by client name. A client without an entry has 1.
    pub weights: BTreeMap<Arc<str>, NonZeroU32>,
    /// Client and purpose of every question that may be asked.
    pub askers: Vec<(Arc<str>, Arc<str>)>,
    /// Budgets by client name. A client without an entry has no limit.
    pub budgets: BTreeMap<Arc<str>, Limits>,
    /// Maximum attempts per minute, over all questions, that follow an attempt that may have been billed.
    pub extra_attempts_per_minute: u32,
    /// Whether clients share cached verdicts and flights.
    pub sharing: Sharing,
    /// Section `[dns]`, for every provider.
    pub dns: dns::Config,
}

/// The validated configuration of one provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// `NAME` in `[providers.NAME]`.
    pub name: Arc<str>,
    pub driver: &'static Driver,
    /// The driver with its own settings and secrets.
    pub configured: Configured,
    /// The credential that replaces the current one, if already configured.
    pub next: Option<Credential>,
    /// First tried first.
    pub endpoints: Vec<Endpoint>,
    pub outbound: Outbound,
    /// After this the chain stops waiting for the call and proceeds as the policy says.
    pub attempt_timeout: Duration,
    /// After this the call is cancelled. Until then a late answer is still used.
    pub call_limit: Duration,
    /// Maximum calls in flight.
    pub max_concurrency: usize,
    /// Calls per second, for the whole account.
    pub rate_limit: NonZeroU32,
    pub prices: Tariff,
    /// The spending limits of this account.
    pub budget: Limits,
    pub packages: Vec<Package>,
}
