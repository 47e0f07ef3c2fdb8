//! The running state of one configuration: providers, policies, the verdict cache and the flights.
//!
//! [`Runtime::build`] does everything that can fail and leaves the current runtime untouched. The new runtime keeps the
//! state of the previous one: breakers, account faults, holds, flights, connections. [`Runtime::take_over`] then
//! applies the new settings to that shared state, which cannot fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::billing::Billing;
use super::cached_lookup::CachedLookup;
use super::chain::Policy;
use super::config::Config;
use super::deps::Deps;
use super::enumeration;
use super::isolation::Isolated;
use super::metrics::{Avoided, Metrics};
use super::outbound::client::{Clients, Unusable};
use super::places::{NoPlace, Parties, Place};
use super::policy::{self, Priority};
use super::provider::Provider;
use super::question::{Answer, Failure, FailureKind, Question, Source};
use super::replicas::{Replicas, Trial};
use super::status::ProviderStatus;
use super::unanswered::Unanswered;
use super::verdict_cache::VerdictCache;
use super::warmer::Warmer;
use super::warming::WarmingState;
use crate::domain::verdict::Verdict;
use crate::resilience::budget::Budget;
use crate::storage::ledger::ReadError;

/// The running state of one configuration.
#[derive(Debug)]
pub struct Runtime {
    pub(super) lookup: Arc<CachedLookup>,
    pub(super) providers: Vec<Arc<Provider>>,
    policy: Arc<Policy>,
    purposes: BTreeMap<String, Arc<Policy>>,
    /// Kept across reloads, with their open connections.
    clients: Clients,
    pub(super) enumeration: enumeration::Config,
    metrics: Metrics,
}

/// Why a [`Runtime`] could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the HTTP client cannot be built: the TLS roots or the TLS library in this binary are unusable")]
    Client,
    #[error("provider {0} is in an order but has no section [providers.{0}]")]
    UnknownProvider(String),
}

impl Runtime {
    /// Builds the runtime and carries over the state of `before`, if given.
    ///
    /// # Errors
    /// An HTTP client cannot be built, or an order names an unknown provider. The current runtime is then unchanged.
    pub fn build(config: &Config, deps: &Deps, before: Option<&Runtime>) -> Result<Self, BuildError> {
        let mut clients = Clients::new(Arc::clone(&deps.names), before.map(|before| &before.clients));
        let mut providers = Vec::with_capacity(config.providers.len());
        for one in &config.providers {
            let same = before.and_then(|before| before.provider(&one.name));
            let provider = Provider::build(one, config, deps, &mut clients, same);
            providers.push(Arc::new(provider.map_err(|Unusable| BuildError::Client)?));
        }
        let policy_of = |chain: &policy::Config, priority, key: &str| -> Result<Arc<Policy>, BuildError> {
            let find = |name: &String| {
                let found = providers.iter().find(|provider| *provider.account.name == **name);
                found.cloned().ok_or_else(|| BuildError::UnknownProvider(name.clone()))
            };
            Ok(Arc::new(Policy {
                order: chain.order.iter().map(find).collect::<Result<_, _>>()?,
                on_no_record: chain.on_no_record,
                on_unknown: chain.on_unknown,
                budget: chain.budget,
                priority,
                key: Arc::from(key),
                scope: deps.traces.scopes.of(key, ""),
            }))
        };
        let mut purposes = BTreeMap::new();
        for (name, purpose) in &config.purposes {
            let adapted = config.chain.adapted(purpose);
            // A purpose that changes nothing shares its verdicts with `[chain]`.
            let key = if adapted == config.chain { "" } else { name };
            purposes.insert(name.clone(), policy_of(&adapted, purpose.priority, key)?);
        }
        let policy = policy_of(&config.chain, Priority::Normal, "")?;
        config.clients.iter().for_each(|client| deps.metrics.client(client));
        let priorities = purposes.values().map(|policy| policy.priority);
        let parties = Parties::new(&config.clients, &config.weights, priorities);
        let orders = purposes.values().chain([&policy]);
        let orders = orders.map(|policy| policy.order.iter().map(|one| Arc::clone(&one.account.name)).collect());
        let verdict_cache = VerdictCache {
            cache: Arc::clone(&deps.cache),
            clock: deps.clock.clone(),
            meter: deps.metrics.lookup(orders),
        };
        // Keep the flights, so that a question in flight during a reload is joined and not billed twice.
        let flights = before.map(|before| before.lookup.flights.clone()).unwrap_or_default();
        let unanswered = before.map(|before| Arc::clone(&before.lookup.unanswered));
        let budget = before.map(|before| Arc::clone(&before.lookup.budget));
        let budget = budget.filter(|budget| budget.per_minute() == config.extra_attempts_per_minute);
        if before.is_none() {
            deps.names.keep_for(config.dns);
            deps.billing.configure(config);
        }
        let warmer = Warmer {
            warming: Arc::clone(&deps.warming),
            cache: Arc::clone(&deps.cache),
            digest_key: deps.digest_key.clone(),
            sharing: config.sharing,
            policy: Arc::clone(&policy),
            purposes: purposes.clone(),
            holds: providers
                .iter()
                .map(|one| (Arc::clone(&one.account.name), Arc::clone(&one.account.holds)))
                .collect(),
            billing: Arc::clone(&deps.billing),
            traces: Arc::clone(&deps.traces),
            reach: Verdict::ALL
                .map(|verdict| deps.cache.lifetime(verdict))
                .into_iter()
                .fold(config.holds.longest.max(config.holds.window), Duration::max),
        };
        let longest_call = config.providers.iter().map(|one| one.call_limit).max().unwrap_or_default();
        let budgets = purposes.values().chain([&policy]).map(|policy| policy.budget);
        let work = budgets.max().unwrap_or_default() + longest_call;
        let replicas = Replicas::new(
            &deps.shared,
            work,
            config.sharing,
            config.extra_attempts_per_minute,
            before.map(|before| &before.lookup.replicas),
        );
        Ok(Self {
            lookup: Arc::new(CachedLookup {
                replicas,
                flights,
                verdict_cache: Arc::new(verdict_cache),
                unanswered: unanswered.unwrap_or_else(|| Arc::new(Unanswered::new())),
                digest_key: deps.digest_key.clone(),
                sharing: config.sharing,
                budget: budget.unwrap_or_else(|| Arc::new(Budget::new(config.extra_attempts_per_minute))),
                tasks: deps.tasks.clone(),
                traces: Arc::clone(&deps.traces),
                ledger: deps.ledger.clone(),
                billing: Arc::clone(&deps.billing),
                places: Arc::clone(&deps.places),
                parties,
                warmer: Arc::new(warmer),
            }),
            enumeration: config.enumeration.clone(),
            policy,
            purposes,
            providers,
            clients: clients.complete(),
            metrics: deps.metrics.clone(),
        })
    }

    /// Applies `config`, from which this runtime was built, to the state shared with `before`, and removes the gauges
    /// of providers and endpoints that are gone. Cannot fail.
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

    /// Answers a question within its patience. A flight that it starts continues even if the caller disconnects.
    ///
    /// # Errors
    /// No verdict in time. The failure holds the reason and the attempts.
    pub async fn ask(&self, question: &Question) -> Result<Answer, Failure> {
        // Checked before the cache, because a cached answer reveals as much as a provider's.
        let trial = self.guard(question)?;
        let policy = self.purposes.get(&*question.purpose).unwrap_or(&self.policy);
        let answer = self.lookup.ask(question, policy, trial.as_ref()).await;
        let answer = match trial {
            None => answer,
            // Boxed, so that a request is no larger where nothing is shared.
            Some(trial) => Box::pin(self.granted(question, trial, answer)).await,
        };
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

    /// Nobody is told anything for a name that the other replicas do not grant.
    async fn granted(
        &self,
        question: &Question,
        trial: Arc<Trial>,
        answer: Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let granted = self.lookup.replicas.grant(&trial, &question.for_replicas).await;
        granted.map_err(|wait| self.suspect(question, (enumeration::Kind::NamesPerNumber, wait)))?;
        answer
    }

    /// A place for a request of `client` that is being read.
    ///
    /// # Errors
    /// All are taken, or the client has its share.
    pub fn place_to_read(&self, client: &str) -> Result<Place, NoPlace> {
        self.lookup.places.to_read(self.lookup.parties.of(client, Priority::Normal))
    }

    /// A place for a request of `client` that waits for another one.
    ///
    /// # Errors
    /// As [`Runtime::place_to_read`].
    pub fn place_to_wait(&self, client: &str) -> Result<Place, NoPlace> {
        self.lookup.places.to_wait(self.lookup.parties.of(client, Priority::Normal))
    }

    /// The newest verdict that the ledger has for `question` since `since_ms` (milliseconds since 1970), also if it is
    /// not cached: a retry of a question whose caller had left is not paid for again.
    ///
    /// # Errors
    /// If the ledger cannot be read in time.
    pub async fn recorded(&self, question: &Question, since_ms: i64) -> Result<Option<Answer>, ReadError> {
        let policy = self.purposes.get(&*question.purpose).unwrap_or(&self.policy);
        let answer = self.lookup.recorded(question, policy, since_ms).await?;
        if let Some(answer) = &answer {
            self.spared(Avoided::Idempotent, &answer.provider, answer.verdict);
        }
        Ok(answer)
    }

    /// Counts a call that was avoided, and its price, because `provider` had already given this verdict.
    pub fn spared(&self, why: Avoided, provider: &str, verdict: Verdict) {
        self.metrics.avoided(why);
        // A provider that was removed from the configuration has no price.
        if let Some(provider) = self.provider(provider) {
            self.lookup.billing.saved(why, provider.account.prices.of(verdict));
        }
    }

    /// The money of all configurations.
    pub fn billing(&self) -> &Arc<Billing> {
        &self.lookup.billing
    }

    /// Restores from the ledger what an earlier process knew. Until this has ended, each question is looked up.
    pub async fn warm(&self) {
        self.lookup.warmer.run().await;
    }

    /// How far [`Runtime::warm`] is, and how many verdicts it has restored.
    pub fn warming(&self) -> (WarmingState, u64) {
        self.lookup.warmer.warming.progress()
    }

    /// Counts the question against the limits of this replica. Returns what the others have to grant.
    fn guard(&self, question: &Question) -> Result<Option<Arc<Trial>>, Failure> {
        let Question { subject, client, .. } = question;
        let (tries, key) = (&self.lookup.traces.tries, &self.lookup.digest_key);
        let replicas = &self.lookup.replicas;
        // A name that was tried here before is known to the others too.
        let is_new = replicas.is_on() && self.enumeration.names_per_number > 0 && !tries.knows(key, client, subject);
        let number = tries.admit(&self.enumeration, key, client, subject, Instant::now());
        let number = number.map_err(|suspected| self.suspect(question, suspected))?;
        if let Some(number) = number
            && replicas.is_on()
        {
            replicas.shared.asked_about(replicas.name_of(client), number, self.enumeration.window);
        }
        let trial = || {
            let (person, number) = (key.person(subject), enumeration::number(key, subject));
            replicas.trial(person, number, client, &self.enumeration)
        };
        Ok(is_new.then(trial))
    }

    fn suspect(&self, question: &Question, (kind, wait): (enumeration::Kind, Duration)) -> Failure {
        self.metrics.enumeration_suspected(&question.client, kind);
        Failure { retry_after: Some(wait), ..Failure::bare(FailureKind::EnumerationSuspected(kind)) }
    }

    /// The names of the providers.
    pub fn provider_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.providers.iter().map(|provider| &provider.account.name)
    }

    /// The status of every provider, for operators.
    pub fn status(&self) -> Vec<ProviderStatus> {
        let now = Instant::now();
        self.providers.iter().map(|provider| Provider::status(provider, now)).collect()
    }

    /// Excludes the named provider until [`Runtime::restore`], or until it ends by itself. Returns false if there is no
    /// such provider.
    pub fn isolate(&self, provider: &str, isolated: Isolated) -> bool {
        let left = isolated.until.map(|until| {
            let left = until.duration_since(self.lookup.verdict_cache.clock.now());
            Duration::try_from(left).unwrap_or_default()
        });
        // What is too far to be told never comes.
        let ends = left.and_then(|left| Instant::now().checked_add(left));
        self.with_provider(provider, |provider| provider.account.isolation.begin(isolated, ends))
    }

    /// Ends the isolation, the account suspension and the pause of the named provider, fetches its credential and
    /// closes its breakers. Returns false if there is no such provider.
    pub fn restore(&self, provider: &str) -> bool {
        let now = Instant::now();
        self.with_provider(provider, |provider| {
            provider.account.isolation.end();
            provider.account.standing.restore();
            provider.account.limiter.restore();
            provider.account.keys.fetch_now();
            // Forcing the breaker closed and releasing it clears its counts; it then works as usual.
            for guarded in &provider.endpoints {
                guarded.breaker.force_closed(now);
                guarded.breaker.clear_force(now);
            }
        })
    }

    /// The number of flights in progress, one per question.
    pub fn flights(&self) -> usize {
        self.lookup.flights.len()
    }

    /// Updates the gauges; called before every scrape.
    pub fn refresh_metrics(&self) {
        let now = Instant::now();
        for provider in &self.providers {
            let seen = Provider::status(provider, now);
            for (guarded, endpoint) in provider.endpoints.iter().zip(&seen.endpoints) {
                self.metrics.breaker(&provider.account.name, &guarded.endpoint).set(i64::from(endpoint.state.number()));
            }
            provider.account.meter.available.set(i64::from(seen.unavailable.is_none()));
            provider.account.meter.account(seen.account_fault.map(|fault| fault.reason));
            provider.account.meter.in_flight.set(i64::try_from(seen.in_flight).unwrap_or(i64::MAX));
            provider.account.meter.holds.set(i64::try_from(seen.holds).unwrap_or(i64::MAX));
        }
        self.lookup.billing.refresh();
        let VerdictCache { cache, clock, .. } = &*self.lookup.verdict_cache;
        self.metrics.cache_entries(cache.entries(clock.monotonic()));
        // Scrapes are regular, so old entries are removed even when no questions arrive.
        self.lookup.traces.tries.sweep(self.enumeration.window, now);
    }

    fn with_provider(&self, name: &str, then: impl FnOnce(&Provider)) -> bool {
        self.provider(name).map(then).is_some()
    }

    pub(super) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| *provider.account.name == *name).map(Arc::as_ref)
    }
}
