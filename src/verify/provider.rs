//! One provider of the chain: its account and its endpoints.
//!
//! Each configuration builds a new `Provider` and reuses the parts of the previous one, so that the state of an account
//! or endpoint survives a reload. A part is replaced only if its own settings have changed.

use std::sync::Arc;

use tokio::time::Instant;

use super::account::Account;
use super::config::{Config, ProviderConfig};
use super::credentials::{CredentialStore, Fetcher, Given};
use super::deps::Deps;
use super::endpoint::{AttemptContext, AttemptResult, ChainAbort, GuardedEndpoint};
use super::exchange::{Exchange, Waits};
use super::holds::Holds;
use super::outbound::client::{Clients, Unusable};
use super::question::Attempt;
use super::status::{AccountStatus, EndpointStatus, FaultStatus, ProviderStatus, Unavailable};
use crate::domain::money::Billed;
use crate::domain::outcome::Outcome;
use crate::resilience::account::AccountSuspension;
use crate::resilience::breaker::{Breaker, State};
use crate::resilience::bulkhead::Bulkhead;
use crate::resilience::limiter::Limiter;

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) account: Arc<Account>,
    pub(super) endpoints: Vec<GuardedEndpoint>,
    /// Set if the credentials are fetched.
    fetcher: Option<Arc<Fetcher>>,
}

impl Provider {
    /// Builds a provider and reuses the parts of `before` whose settings are the same. Shared parts are not changed.
    ///
    /// # Errors
    /// An HTTP client cannot be built.
    pub(super) fn build(
        one: &ProviderConfig,
        config: &Config,
        deps: &Deps,
        clients: &mut Clients,
        before: Option<&Self>,
    ) -> Result<Self, Unusable> {
        let before = before.filter(|before| before.account.driver.name == one.driver.name);
        let is_fetched = one.configured.access.given().is_none();
        let mut fetcher = || Fetcher::new(&one.outbound, clients, deps.clock.clone(), deps.ids.clone());
        let fetcher = if is_fetched { Some(Arc::new(fetcher()?)) } else { None };
        let keys = || {
            let given = Given::new(&one.configured.access, one.next.as_ref(), fetcher.as_ref());
            Arc::new(CredentialStore::new(one.name.clone(), given, &deps.metrics))
        };
        let account = Arc::new(account(one, config, deps, keys, before.map(|before| &*before.account)));
        let endpoints = one.endpoints.iter().enumerate().map(|(index, endpoint)| {
            let exchange = Exchange::new(
                clients.to(endpoint, &one.outbound)?,
                endpoint.clone(),
                Arc::clone(&one.configured.protocol),
                Arc::clone(&account.keys),
                // The other half of the attempt is left for the call itself.
                Waits { credential: one.attempt_timeout / 2, call: one.call_limit },
                deps,
            );
            let authority = endpoint.authority();
            let known =
                before.and_then(|before| before.endpoints.iter().find(|guarded| *guarded.endpoint == *authority));
            let breaker = known.map(|guarded| guarded.breaker.clone());
            let breaker = breaker.unwrap_or_else(|| breaker_of(&one.name, authority, index, config, deps));
            let last_fault = known.and_then(GuardedEndpoint::last_fault);
            Ok(GuardedEndpoint::new(exchange, breaker, deps.metrics.endpoint(&one.name, authority), last_fault))
        });
        Ok(Self { endpoints: endpoints.collect::<Result<_, _>>()?, account, fetcher })
    }

    /// Applies the settings of `one` to the reused parts, and ends a pause that the provider requested.
    pub(super) fn take_over(&self, one: &ProviderConfig, config: &Config, now: Instant) {
        for guarded in &self.endpoints {
            guarded.breaker.reconfigure(now, Arc::clone(&config.breaker));
        }
        self.account.holds.reconfigure(config.holds.clone());
        self.account.limiter.restore();
        let given = Given::new(&one.configured.access, one.next.as_ref(), self.fetcher.as_ref());
        self.account.replace_keys(given, now);
    }

    /// # Errors
    /// No call may be made to any provider.
    pub(super) async fn attempt(&self, index: usize, context: &AttemptContext) -> Result<AttemptResult, ChainAbort> {
        match self.endpoints.get(index) {
            Some(guarded) => guarded.attempt(&self.account, context).await,
            None => Ok(self.lost(index)),
        }
    }

    /// Reports an attempt whose task panicked. It may have been billed.
    pub(super) fn lost(&self, index: usize) -> AttemptResult {
        let endpoint = self.endpoint(index);
        let plain = Attempt::skipped(&self.account.name, &endpoint, Outcome::Interrupted, None);
        AttemptResult { attempt: Attempt { billed: Billed::Unknown, ..plain }, finding: None, pending: false }
    }

    pub(super) fn endpoint(&self, index: usize) -> Arc<str> {
        self.endpoints.get(index).map(|guarded| Arc::clone(&guarded.endpoint)).unwrap_or_default()
    }

    /// The status of this provider and its endpoints, for operators and gauges.
    pub(super) fn status(&self, now: Instant) -> ProviderStatus {
        let account = &self.account;
        let endpoints: Vec<_> = self
            .endpoints
            .iter()
            .map(|guarded| {
                let seen = guarded.breaker.snapshot(now);
                EndpointStatus {
                    endpoint: Arc::clone(&guarded.endpoint),
                    state: seen.state,
                    since: now.saturating_duration_since(seen.since),
                    reason: seen.reason,
                    retry_after: seen.next_admission.filter(|wait| !wait.is_zero()),
                    last_fault: guarded.last_fault().map(|fault| FaultStatus {
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
        let isolated = account.isolation.at(now);
        let paused_for = account.limiter.paused_for(now);
        let unavailable = if isolated.is_some() {
            Some(Unavailable::Isolated)
        } else if account_fault.is_some() {
            Some(Unavailable::AccountFault)
        } else if paused_for.is_some() {
            Some(Unavailable::Paused)
        } else if endpoints.iter().all(|endpoint| endpoint.state == State::Open) {
            Some(Unavailable::BreakersOpen)
        } else {
            None
        };
        ProviderStatus {
            name: Arc::clone(&account.name),
            driver: account.driver.name,
            unavailable,
            isolated,
            account_fault,
            credential: account.keys.status(),
            paused_for,
            in_flight: account.bulkhead.in_use(),
            holds: account.holds.active(now),
            prices: account.prices,
            endpoints,
        }
    }
}

fn account(
    one: &ProviderConfig,
    config: &Config,
    deps: &Deps,
    keys: impl FnOnce() -> Arc<CredentialStore>,
    before: Option<&Account>,
) -> Account {
    let same_rate = before.filter(|before| before.rate_limit == one.rate_limit);
    let same_width = before.filter(|before| before.max_concurrency == one.max_concurrency);
    let same_intervals = before.filter(|before| before.intervals == config.account);
    Account {
        name: one.name.clone(),
        driver: one.driver,
        prices: one.prices,
        spend: deps.billing.spend(&one.name),
        attempt_timeout: one.attempt_timeout,
        keys: before.map_or_else(keys, |before| Arc::clone(&before.keys)),
        max_concurrency: one.max_concurrency,
        bulkhead: same_width.map_or_else(|| Bulkhead::new(one.max_concurrency), |before| before.bulkhead.clone()),
        rate_limit: one.rate_limit,
        limiter: same_rate.map_or_else(
            || Arc::new(Limiter::new(one.rate_limit, one.rate_limit)),
            |before| Arc::clone(&before.limiter),
        ),
        intervals: config.account,
        standing: same_intervals.map_or_else(
            || AccountSuspension::new(config.account, seed(deps, usize::MAX)),
            |before| before.standing.clone(),
        ),
        holds: before.map_or_else(|| Arc::new(Holds::new(config.holds.clone())), |before| Arc::clone(&before.holds)),
        meter: deps.metrics.provider(&one.name),
        isolation: before.map(|before| Arc::clone(&before.isolation)).unwrap_or_default(),
    }
}

fn breaker_of(provider: &Arc<str>, authority: &str, index: usize, config: &Config, deps: &Deps) -> Breaker {
    let (provider, authority, metrics) = (Arc::clone(provider), authority.to_owned(), deps.metrics.clone());
    metrics.breaker(&provider, &authority).set(0);
    Breaker::new(Arc::clone(&config.breaker), seed(deps, index), Instant::now(), move |transition| {
        metrics.transition(&provider, &authority, transition);
    })
}

/// A random seed, so that replicas and endpoints do not retry at the same moment.
fn seed(deps: &Deps, index: usize) -> u64 {
    let (high, low) = deps.ids.nonce().as_u64_pair();
    high ^ low.rotate_left(17) ^ index as u64
}
