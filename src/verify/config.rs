//! The configuration of a runtime, read and validated.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::billing::Package;
use super::outbound::dns;
use super::outbound::settings::Outbound;
use super::{enumeration, holds, policy};
use crate::domain::money::Prices;
use crate::providers::{Configured, Credential, Driver, Endpoint};
use crate::resilience;
use crate::resilience::spending::Limits;
use crate::storage::Sharing;

/// The configuration of a runtime, read and validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// The providers that have a section.
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
    /// Budgets by client name. A client without an entry has no limit.
    pub budgets: BTreeMap<Arc<str>, Limits>,
    /// Attempts per minute that may follow one that may have been billed.
    pub extra_attempts_per_minute: u32,
    /// Whether clients share answers.
    pub sharing: Sharing,
    /// Section `[dns]`, for every provider.
    pub dns: dns::Config,
}

/// One provider, read and validated.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// Its name: the end of `[providers.NAME]`.
    pub name: Arc<str>,
    /// The driver that speaks its protocol.
    pub driver: &'static Driver,
    /// The driver with its own settings and secrets.
    pub configured: Configured,
    /// The credential that follows the present one, if it is given already.
    pub next: Option<Credential>,
    /// Where it is reached, first asked first.
    pub endpoints: Vec<Endpoint>,
    /// How it is reached.
    pub outbound: Outbound,
    /// After this the chain moves on.
    pub attempt_timeout: Duration,
    /// After this the call itself is given up; until then a late answer is still kept.
    pub call_limit: Duration,
    /// Calls in flight at once.
    pub max_concurrency: usize,
    /// Calls per second, for the whole account.
    pub rate_limit: NonZeroU32,
    /// What it charges.
    pub prices: Prices,
    /// What may be spent there.
    pub budget: Limits,
    /// What was prepaid.
    pub packages: Vec<Package>,
}
