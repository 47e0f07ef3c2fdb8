//! The spending and the limits of all clients and providers.
//!
//! Every call is counted, whether limited or not, so that a limit set later takes past spending into account. The
//! totals survive reloads; spending before a restart is read from the ledger (`opening`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use prometheus::Registry;
use tokio::time::Instant;
use uuid::Uuid;

use super::duplicate_bills::{Bill, Bills};
use super::meter::Meter;
use super::opening::{self, Opening};
use super::packages;
use super::provider_spend::ProviderSpend;
use crate::domain::clock::Clock;
use crate::domain::money::MicroYuan;
use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;
use crate::resilience::spending::{Full, Limits, Moment, Spending, Use};
use crate::storage::ledger::{Ledger, ReadError, Spent};
use crate::storage::shared::Owner;
use crate::verify::config::Config;
use crate::verify::metrics::Avoided;

/// The spending and the limits of all clients and providers. Survives reloads.
#[derive(Debug)]
pub struct Billing {
    pub(super) clock: Clock,
    pub(super) meter: Meter,
    pub(super) duplicate_bills: Bills,
    owners: Mutex<Owners>,
    /// Whether it is known what was spent before this process started.
    pub(super) is_known: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Owners {
    pub(super) clients: HashMap<Arc<str>, Arc<Spending>>,
    pub(super) providers: HashMap<Arc<str>, Arc<ProviderSpend>>,
    /// The package histories hold all calls from this day on.
    pub(super) since: Date,
}

impl Billing {
    /// Starts with the totals of `opening` and registers the metrics.
    ///
    /// # Errors
    /// `registry` already has these metrics.
    pub fn new(clock: Clock, opening: Opening, registry: &Registry) -> Result<Self, prometheus::Error> {
        let owners = Owners { clients: HashMap::new(), providers: HashMap::new(), since: opening.since };
        let billing = Self {
            clock,
            meter: Meter::register(registry)?,
            duplicate_bills: Bills::default(),
            owners: Mutex::new(owners),
            is_known: AtomicBool::new(opening.is_known),
        };
        for Spent { client, provider, calls_today, micro_yuan_today, calls, micro_yuan } in opening.spent {
            let day = Use { calls: calls_today, amount: micro_yuan_today };
            let month = Use { calls, amount: micro_yuan };
            let now = billing.moment();
            billing.client(&Arc::from(client)).spent_before(now, day, month);
            billing.spend(&Arc::from(provider)).spending.spent_before(now, day, month);
        }
        for (provider, history) in opening.histories {
            billing.spend(&Arc::from(provider)).prepaid().history = history;
        }
        Ok(billing)
    }

    /// Applies the budgets and packages of `config`. Past spending still counts.
    pub(in crate::verify) fn configure(&self, config: &Config) {
        self.duplicate_bills.keep_for(config.providers.iter().map(|one| one.call_limit).max().unwrap_or_default());
        for client in &config.clients {
            self.meter.client(client);
            self.client(client);
        }
        let mut known = HashSet::new();
        for one in &config.providers {
            let spend = self.spend(&one.name);
            spend.prepaid().packages.clone_from(&one.packages);
            spend.spending.limit(one.budget);
            known.insert(&one.name);
            // At zero, so that a rate sees the first bill as an increase.
            for (client, purpose) in &config.askers {
                self.meter.cost([&one.name, client, purpose]);
            }
        }
        let owners = self.owners();
        for (name, spending) in &owners.clients {
            spending.limit(config.budgets.get(name).copied().unwrap_or_default());
        }
        for (_, spend) in owners.providers.iter().filter(|(name, _)| !known.contains(name)) {
            spend.prepaid().packages.clear();
            spend.spending.limit(Limits::default());
        }
        drop(owners);
        // An owner that is no longer limited must not have a gauge.
        self.meter.reset();
        self.refresh();
    }

    /// The spending of a provider. Creates it, and its metrics, if it is new.
    pub(in crate::verify) fn spend(&self, provider: &Arc<str>) -> Arc<ProviderSpend> {
        self.meter.provider(provider);
        let (moment, mut owners) = (self.moment(), self.owners());
        let new = || Arc::new(ProviderSpend { spending: Arc::new(Spending::new(moment)), prepaid: Mutex::default() });
        Arc::clone(owners.providers.entry(Arc::clone(provider)).or_insert_with(new))
    }

    /// Counts the price of a call that was not needed.
    pub(in crate::verify) fn saved(&self, why: Avoided, price: MicroYuan) {
        self.meter.saved(why, price);
    }

    /// Begins to count by minute, for the console.
    pub fn keep_minutes(&self) {
        self.meter.keep_minutes(self.clock.clone());
    }

    /// Millionths of a yuan billed, possibly billed and saved in the `minutes` that end with the minute `last` (since
    /// 1970). Zeros before [`Self::keep_minutes`].
    pub fn in_minutes(&self, last: i64, minutes: i64) -> [u64; 3] {
        self.meter.in_minutes(last, minutes)
    }

    /// Adds a bill of an earlier process, made at `at`.
    pub(in crate::verify) fn restore_bill(
        &self,
        person: Digest,
        (provider, verdict): (&Arc<str>, Option<Verdict>),
        verification: Uuid,
        (at, window): (Instant, Duration),
    ) {
        let bill = Bill::new(provider, verification, verdict, window).made_at(at);
        self.duplicate_bills.restore(person, bill);
    }

    /// Removes the last bill about `person`.
    pub(in crate::verify) fn forget(&self, person: &Digest) {
        self.duplicate_bills.forget(person);
    }

    /// Updates the gauges.
    pub(in crate::verify) fn refresh(&self) {
        let (moment, now) = (self.moment(), self.clock.now());
        self.duplicate_bills.sweep();
        let owners = self.owners();
        for (client, spending) in &owners.clients {
            self.meter.used("client", client, spending.used(moment));
        }
        for (provider, spend) in &owners.providers {
            self.meter.used("provider", provider, spend.spending.used(moment));
            let prepaid = spend.prepaid();
            for left in packages::left(&prepaid.packages, &prepaid.history, now) {
                self.meter.package(provider, &left);
            }
        }
    }

    /// Client names come from the configuration and the ledger, so the table stays small.
    pub(super) fn client(&self, client: &Arc<str>) -> Arc<Spending> {
        let (moment, mut owners) = (self.moment(), self.owners());
        Arc::clone(owners.clients.entry(Arc::clone(client)).or_insert_with(|| Arc::new(Spending::new(moment))))
    }

    /// The owners that have a limit.
    pub(super) fn limited(&self) -> Vec<(Owner, Arc<str>, Arc<Spending>)> {
        let owners = self.owners();
        let clients = owners.clients.iter().map(|(name, spending)| (Owner::Client, name, spending));
        let providers = owners.providers.iter().map(|(name, spend)| (Owner::Provider, name, &spend.spending));
        let all = clients.chain(providers).filter(|(.., spending)| spending.is_limited());
        all.map(|(owner, name, spending)| (owner, Arc::clone(name), Arc::clone(spending))).collect()
    }

    pub(super) fn moment(&self) -> Moment {
        let (civil, monotonic) = self.clock.moment().seconds();
        Moment::new(monotonic, civil)
    }

    pub(super) fn until_over(&self, full: Full) -> Duration {
        match full {
            Full::Day => self.clock.until_tomorrow_in_china(),
            Full::Month => self.clock.until_next_month_in_china(),
        }
    }

    pub(super) fn owners(&self) -> MutexGuard<'_, Owners> {
        // The tables only grow, by single inserts, so a panicking holder leaves nothing half done.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the package history that `config` needs and that no earlier configuration needed. It lies before the day
    /// on which this process started, so nothing is added to it meanwhile.
    ///
    /// # Errors
    /// The ledger cannot be read. Nothing has changed then.
    pub async fn reach_back(&self, ledger: &Ledger, config: &Config) -> Result<(), ReadError> {
        let known = self.owners().since;
        let since = opening::reach(config, self.clock.believed_date_in_china());
        if since >= known {
            return Ok(());
        }
        let earlier = opening::histories(ledger, opening::ms(since), opening::ms(known)).await?;
        for (provider, history) in earlier {
            self.spend(&Arc::from(provider)).prepaid().history.precede(history);
        }
        self.owners().since = since;
        Ok(())
    }
}
