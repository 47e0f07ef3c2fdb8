//! The running graph of one configuration.
//!
//! [`Runtime`] is built whole: all that can fail happens then, and nothing that runs is touched. What the graph before it
//! has learnt (breakers, account faults, holds, flights, connections) is the new one's as well. [`Runtime::take_over`] then
//! puts the new settings into what both share, which cannot fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::cached_lookup::CachedLookup;
use super::chain::Policy;
use super::config::Config;
use super::deps::Deps;
use super::enumeration;
use super::erasure::Forgotten;
use super::metrics::{Avoided, Metrics};
use super::outbound::client::{Clients, Unusable};
use super::policy;
use super::provider::Provider;
use super::question::{Answer, Failure, FailureKind, Question, Source};
use super::status::ProviderStatus;
use super::verdict_cache::VerdictCache;
use crate::domain::subject::Subject;
use crate::domain::verdict::Verdict;
use crate::resilience::budget::Budget;

/// The running graph of one configuration.
#[derive(Debug)]
pub struct Runtime {
    lookup: CachedLookup,
    providers: Vec<Arc<Provider>>,
    policy: Arc<Policy>,
    purposes: BTreeMap<String, Arc<Policy>>,
    /// A reload keeps them, with their connections.
    clients: Clients,
    enumeration: enumeration::Config,
    metrics: Metrics,
}

/// Why a graph could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An HTTP client.
    #[error("the HTTP client cannot be built: the TLS roots or the TLS library in this binary are unusable")]
    Client,
    /// A name in an order that no section defines.
    #[error("provider {0} is in an order but has no section [providers.{0}]")]
    UnknownProvider(String),
}

impl Runtime {
    /// Builds the graph, on what `before` has learnt if there was one.
    ///
    /// # Errors
    /// When a client cannot be made, or an order names a provider that does not exist. Nothing was changed then.
    pub fn build(config: &Config, deps: &Deps, before: Option<&Runtime>) -> Result<Self, BuildError> {
        let mut clients = Clients::new(Arc::clone(&deps.names), before.map(|before| &before.clients));
        let mut providers = Vec::with_capacity(config.providers.len());
        for one in &config.providers {
            let same = before.and_then(|before| before.provider(&one.name));
            let provider = Provider::build(one, config, deps, &mut clients, same);
            providers.push(Arc::new(provider.map_err(|Unusable| BuildError::Client)?));
        }
        let policy_of = |chain: &policy::Config, key: &str| -> Result<Arc<Policy>, BuildError> {
            let find = |name: &String| {
                let found = providers.iter().find(|provider| *provider.account.name == **name);
                found.cloned().ok_or_else(|| BuildError::UnknownProvider(name.clone()))
            };
            Ok(Arc::new(Policy {
                order: chain.order.iter().map(find).collect::<Result<_, _>>()?,
                on_no_record: chain.on_no_record,
                on_unknown: chain.on_unknown,
                budget: chain.budget,
                key: Arc::from(key),
            }))
        };
        let mut purposes = BTreeMap::new();
        for (name, purpose) in &config.purposes {
            let adapted = config.chain.adapted(purpose);
            // A purpose that changes nothing shares its verdicts with the others.
            let key = if adapted == config.chain { "" } else { name };
            purposes.insert(name.clone(), policy_of(&adapted, key)?);
        }
        let policy = policy_of(&config.chain, "")?;
        let policies = purposes.values().chain([&policy]).map(|policy| Arc::clone(&policy.key));
        deps.traces.note(policies, config.clients.iter().cloned());
        config.clients.iter().for_each(|client| deps.metrics.client(client));
        let names = providers.iter().map(|provider| Arc::clone(&provider.account.name));
        let verdict_cache = VerdictCache {
            cache: Arc::clone(&deps.cache),
            clock: deps.clock.clone(),
            meter: deps.metrics.lookup(names),
        };
        // A question that is in flight while the configuration changes is joined, not asked again.
        let flights = before.map(|before| before.lookup.flights.clone()).unwrap_or_default();
        let budget = before.map(|before| Arc::clone(&before.lookup.budget));
        let budget = budget.filter(|budget| budget.per_minute() == config.extra_attempts_per_minute);
        if before.is_none() {
            deps.names.keep_for(config.dns);
            deps.billing.configure(config);
        }
        Ok(Self {
            lookup: CachedLookup {
                flights,
                verdict_cache: Arc::new(verdict_cache),
                digest_key: deps.digest_key.clone(),
                sharing: config.sharing,
                budget: budget.unwrap_or_else(|| Arc::new(Budget::new(config.extra_attempts_per_minute))),
                tasks: deps.tasks.clone(),
                traces: Arc::clone(&deps.traces),
                ledger: deps.ledger.clone(),
                billing: Arc::clone(&deps.billing),
            },
            enumeration: config.enumeration.clone(),
            policy,
            purposes,
            providers,
            clients: clients.complete(),
            metrics: deps.metrics.clone(),
        })
    }

    /// Puts the settings of `config`, from which this was built, into what it shares with the graph before it, and ends
    /// what that one showed of providers that are gone. Cannot fail.
    pub fn take_over(&self, config: &Config, before: &Runtime) {
        let now = Instant::now();
        self.clients.keep_names_for(config.dns);
        self.lookup.billing.configure(config);
        for one in &config.providers {
            if let Some(provider) = self.provider(&one.name) {
                provider.take_over(one, config, now);
            }
        }
        for gone in &before.providers {
            let still_there = self.provider(&gone.account.name);
            for guarded in &gone.endpoints {
                if !still_there
                    .is_some_and(|provider| provider.endpoints.iter().any(|one| one.endpoint == guarded.endpoint))
                {
                    self.metrics.endpoint_gone(&gone.account.name, &guarded.endpoint);
                }
            }
            if still_there.is_none() {
                self.metrics.provider_gone(&gone.account.name);
            }
        }
    }

    /// Answers a question within its patience. The work it starts goes on when the caller has left.
    ///
    /// # Errors
    /// When there is no verdict in time; says why, and what was tried.
    pub async fn ask(&self, question: &Question) -> Result<Answer, Failure> {
        // Before memory, which would tell as much as a provider.
        self.guard(question)?;
        let policy = self.purposes.get(&*question.purpose).unwrap_or(&self.policy);
        let answer = self.lookup.ask(question, policy).await;
        match &answer {
            Ok(Answer { source: Source::Cache, provider, verdict, .. }) => {
                self.spared(Avoided::Cache, provider, *verdict);
            }
            Ok(Answer { source: Source::Shared, provider, verdict, .. }) => {
                self.spared(Avoided::Shared, provider, *verdict);
            }
            _ => {}
        }
        answer
    }

    /// Counts a call that was not needed, and its price, because `provider` had given this verdict already.
    pub fn spared(&self, why: Avoided, provider: &str, verdict: Verdict) {
        self.metrics.avoided(why);
        // A provider that is gone has no price any more.
        if let Some(provider) = self.provider(provider) {
            self.lookup.billing.saved(why, provider.account.prices.of(verdict));
        }
    }

    /// Forgets what memory, holds, bills and the enumeration guard know about `subject`, and lets work under way leave nothing.
    pub async fn forget(&self, subject: &Subject) -> Forgotten {
        let (verdicts, under_way) = self.lookup.forget(subject).await;
        let key = &self.lookup.digest_key;
        let person = key.person(subject);
        self.lookup.billing.forget(&person).await;
        let holds = self.providers.iter().filter(|provider| provider.account.holds.forget(person)).count();
        let clients = self.lookup.traces.words().clients;
        let tries = self.lookup.traces.tries.forget(key, clients.iter().map(|client| &**client), subject);
        Forgotten { verdicts, holds, tries, under_way }
    }

    fn guard(&self, question: &Question) -> Result<(), Failure> {
        let Question { subject, client, .. } = question;
        let (tries, key) = (&self.lookup.traces.tries, &self.lookup.digest_key);
        tries.admit(&self.enumeration, key, client, subject, Instant::now()).map_err(|(kind, wait)| {
            self.metrics.enumeration_suspected(client, kind);
            Failure { retry_after: Some(wait), ..Failure::bare(FailureKind::EnumerationSuspected(kind)) }
        })
    }

    /// What an operator wants to know about every provider.
    pub fn status(&self) -> Vec<ProviderStatus> {
        let now = Instant::now();
        self.providers.iter().map(|provider| Provider::status(provider, now)).collect()
    }

    /// Keeps the named provider out of the chain until [`Runtime::restore`]; false if there is none of that name.
    pub fn isolate(&self, provider: &str) -> bool {
        self.with_provider(provider, |provider| provider.account.isolated.store(true, Ordering::Relaxed))
    }

    /// Ends an isolation, an account fault's interval and open breakers of the named provider.
    pub fn restore(&self, provider: &str) -> bool {
        let now = Instant::now();
        self.with_provider(provider, |provider| {
            provider.account.isolated.store(false, Ordering::Relaxed);
            provider.account.standing.restore();
            provider.account.keys.fetch_now();
            // Forced closed and let go again: closed, with a clean slate, and judged by itself from now on.
            for guarded in &provider.endpoints {
                guarded.breaker.force_closed(now);
                guarded.breaker.clear_force(now);
            }
        })
    }

    /// Calls and waits under way, one per question.
    pub fn flights(&self) -> usize {
        self.lookup.flights.len()
    }

    /// Brings the gauges up to date; called before they are read.
    pub fn refresh_metrics(&self) {
        let now = Instant::now();
        for provider in &self.providers {
            let seen = Provider::status(provider, now);
            for (guarded, endpoint) in provider.endpoints.iter().zip(&seen.endpoints) {
                self.metrics.breaker(&provider.account.name, &guarded.endpoint).set(i64::from(endpoint.state.number()));
            }
            provider.account.meter.available.set(i64::from(seen.available));
            provider.account.meter.account(seen.account_fault.map(|fault| fault.reason));
            provider.account.meter.in_flight.set(i64::try_from(seen.in_flight).unwrap_or(i64::MAX));
            provider.account.meter.holds.set(i64::try_from(seen.holds).unwrap_or(i64::MAX));
        }
        self.lookup.billing.refresh();
        self.metrics.cache_entries(self.lookup.verdict_cache.cache.entries());
        // Whoever looks at metrics does so all the time, also when nobody asks.
        self.lookup.traces.tries.sweep(self.enumeration.window, now);
    }

    /// Whether some provider of the chain could be asked now.
    pub fn has_available_provider(&self) -> bool {
        self.status().iter().any(|provider| provider.available)
    }

    fn with_provider(&self, name: &str, then: impl FnOnce(&Provider)) -> bool {
        self.provider(name).map(then).is_some()
    }

    fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| *provider.account.name == *name).map(Arc::as_ref)
    }
}
