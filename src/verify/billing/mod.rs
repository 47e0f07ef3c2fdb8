//! The one room for money: every call is reserved here before it is made, and settled here where it ends.
//!
//! The trip of a call: `Payer` (one flight) reserves it with the client and the provider, which gives a `Fare`; that
//! lives as long as the call and is settled in one of two places of `link`, in time or late. From there: `budget` (limits;
//! the sums are `resilience::spending`), `duplicate_bills` (is anybody billed twice?), `packages` (what is left of what was prepaid),
//! `meter`. Invariants: all calls of all clients and providers are counted, limited or not, so that a limit which comes
//! later knows what was spent; a fare that is lost counts as spent; the purse outlives every configuration, and what it
//! knew before a restart is read from the ledger (`opening`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use prometheus::Registry;
use uuid::Uuid;

use self::duplicate_bills::{Bill, Bills};
use self::meter::Meter;
use self::packages::History;
use super::Config;
use super::account::Account;
use super::metrics::Avoided;
use super::question::Question;
use super::verdict_cache::CacheSlot;
use crate::domain::clock::Clock;
use crate::domain::money::{Billed, MicroYuan, Prices};
use crate::domain::outcome::{Fault, Reason};
use crate::domain::subject::Digest;
use crate::domain::verdict::{Finding, Verdict};
use crate::resilience::spending::{Full, Limits, Moment, Reserved, Spending, Use};

mod budget;
mod duplicate_bills;
mod meter;
mod opening;
mod packages;

pub use budget::Budget;
pub use opening::Opening;
pub use packages::Package;

/// What all clients and providers have spent.
#[derive(Debug)]
pub struct Billing {
    clock: Clock,
    meter: Meter,
    duplicate_bills: Bills,
    owners: Mutex<Owners>,
}

#[derive(Debug)]
struct Owners {
    clients: HashMap<Arc<str>, Arc<Spending>>,
    tills: HashMap<Arc<str>, Arc<ProviderSpend>>,
    /// From this day on all calls are in the histories of packages.
    since: Date,
}

/// A provider's side of it.
#[derive(Debug)]
pub(super) struct ProviderSpend {
    spending: Arc<Spending>,
    prepaid: Mutex<Prepaid>,
}

#[derive(Debug, Default)]
struct Prepaid {
    packages: Vec<Package>,
    history: History,
}

/// Who pays for the calls of one flight.
#[derive(Debug, Clone)]
pub(super) struct Payer {
    billing: Arc<Billing>,
    spending: Arc<Spending>,
    client: Arc<str>,
    purpose: Arc<str>,
    verification: Uuid,
    /// Whether a missing record is asked about twice on purpose.
    wants_second_opinion: bool,
}

/// One call, reserved. Dropped unsettled, it counts as one that may have been billed.
#[derive(Debug)]
#[must_use = "a fare is settled or given back"]
pub(super) struct Reservation {
    payer: Payer,
    account: Arc<Account>,
    reserved: Option<[Reserved; 2]>,
}

/// Whose budget is used up, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsedUp {
    Client(Duration),
    Provider(Duration),
}

/// What a call came to, in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) billed: Billed,
    /// What it cost, or costs if it is billed.
    pub(super) price: MicroYuan,
    verdict: Option<Verdict>,
}

impl Cost {
    /// The cost of a call that ended so.
    pub(super) fn of(prices: &Prices, result: &Result<Finding, Fault>) -> Self {
        let (billed, verdict) = match result {
            Ok(finding) => (prices.billed(finding.verdict), Some(finding.verdict)),
            Err(fault) => (fault.billed, None),
        };
        let price = match (billed, verdict) {
            (Billed::No, _) => MicroYuan(0),
            (_, Some(verdict)) => prices.of(verdict),
            (_, None) => prices.most(),
        };
        Self { billed, price, verdict }
    }

    /// What a budget is told: a refusal that costs nothing is no call, or an outage would use budgets up.
    fn spent(self) -> Use {
        let counts = self.verdict.is_some() || self.billed != Billed::No;
        Use { calls: u64::from(counts), amount: self.price.0 }
    }
}

impl Billing {
    /// The purse as `opening` found it, its metrics in `registry`.
    ///
    /// # Errors
    /// When `registry` has them already.
    pub fn new(clock: Clock, opening: Opening, registry: &Registry) -> Result<Self, prometheus::Error> {
        let owners = Owners { clients: HashMap::new(), tills: HashMap::new(), since: opening.since() };
        let billing = Self {
            clock,
            meter: Meter::register(registry)?,
            duplicate_bills: Bills::new(),
            owners: Mutex::new(owners),
        };
        opening.fill(&billing);
        Ok(billing)
    }

    /// From now on the budgets and packages of `config` hold. What was spent stays spent.
    pub(super) fn configure(&self, config: &Config) {
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
        }
        let owners = self.owners();
        for (name, spending) in &owners.clients {
            spending.limit(config.budgets.get(name).copied().unwrap_or_default());
        }
        for (_, spend) in owners.tills.iter().filter(|(name, _)| !known.contains(name)) {
            spend.prepaid().packages.clear();
            spend.spending.limit(Limits::default());
        }
        drop(owners);
        // What is limited no more shows nothing.
        self.meter.reset();
        self.refresh();
    }

    /// A provider's side; its metrics exist from then on.
    pub(super) fn spend(&self, provider: &Arc<str>) -> Arc<ProviderSpend> {
        self.meter.provider(provider);
        let (moment, mut owners) = (self.moment(), self.owners());
        let new = || Arc::new(ProviderSpend { spending: Arc::new(Spending::new(moment)), prepaid: Mutex::default() });
        Arc::clone(owners.tills.entry(Arc::clone(provider)).or_insert_with(new))
    }

    /// Who pays for what `question` leads to.
    pub(super) fn payer(self: &Arc<Self>, question: &Question, wants_second_opinion: bool) -> Payer {
        Payer {
            billing: Arc::clone(self),
            spending: self.client(&question.client),
            client: Arc::clone(&question.client),
            purpose: Arc::clone(&question.purpose),
            verification: question.ticket.id,
            wants_second_opinion,
        }
    }

    /// A call at this price was not needed.
    pub(super) fn saved(&self, why: Avoided, price: MicroYuan) {
        self.meter.saved(why, price);
    }

    /// Forgets that `person` was ever billed.
    pub(super) async fn forget(&self, person: &Digest) {
        self.duplicate_bills.forget(person).await;
    }

    /// Brings the gauges up to date.
    pub(super) fn refresh(&self) {
        let (moment, now) = (self.moment(), self.clock.now());
        let owners = self.owners();
        for (client, spending) in &owners.clients {
            self.meter.used("client", client, spending.used(moment));
        }
        for (provider, spend) in &owners.tills {
            self.meter.used("provider", provider, spend.spending.used(moment));
            let prepaid = spend.prepaid();
            for left in packages::left(&prepaid.packages, &prepaid.history, now) {
                self.meter.package(provider, &left);
            }
        }
    }

    /// Clients come from the configuration and the ledger, so this grows no further than that.
    fn client(&self, client: &Arc<str>) -> Arc<Spending> {
        let (moment, mut owners) = (self.moment(), self.owners());
        Arc::clone(owners.clients.entry(Arc::clone(client)).or_insert_with(|| Arc::new(Spending::new(moment))))
    }

    fn moment(&self) -> Moment {
        let date = self.clock.today_in_china();
        let month = i32::from(date.year()) * 12 + i32::from(date.month());
        Moment { day: month * 31 + i32::from(date.day()), month }
    }

    fn until_over(&self, full: Full) -> Duration {
        match full {
            Full::Day => self.clock.until_tomorrow_in_china(),
            Full::Month => self.clock.until_next_month_in_china(),
        }
    }

    fn owners(&self) -> MutexGuard<'_, Owners> {
        // Tables that only grow: a panicking holder leaves nothing half done.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProviderSpend {
    fn prepaid(&self) -> MutexGuard<'_, Prepaid> {
        self.prepaid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payer {
    /// Reserves a call: the most that it can cost, with the client and the provider.
    ///
    /// # Errors
    /// Whose budget has no room for it. Nothing is reserved then.
    pub(super) fn reserve(&self, account: &Arc<Account>) -> Result<Reservation, UsedUp> {
        let (moment, most) = (self.billing.moment(), account.prices.most().0);
        let of_client = self.spending.try_reserve(moment, most);
        let of_client = of_client.map_err(|full| {
            self.billing.meter.refused("client", &self.client);
            UsedUp::Client(self.billing.until_over(full))
        })?;
        let of_provider = match account.spend.spending.try_reserve(moment, most) {
            Ok(reserved) => reserved,
            Err(full) => {
                of_client.release();
                self.billing.meter.refused("provider", &account.name);
                return Err(UsedUp::Provider(self.billing.until_over(full)));
            }
        };
        // From here on there is a cost to count from, so that an increase is seen from the first call on.
        self.billing.meter.cost(&account.name, &self.client, &self.purpose);
        Ok(Reservation { payer: self.clone(), account: Arc::clone(account), reserved: Some([of_client, of_provider]) })
    }
}

impl Reservation {
    /// The call is not made.
    pub(super) fn give_back(mut self) {
        self.reserved.take().into_iter().flatten().for_each(Reserved::release);
    }

    /// The call has ended, in time or late.
    pub(super) async fn settle(mut self, result: &Result<Finding, Fault>, keep: &CacheSlot) {
        let cost = Cost::of(&self.account.prices, result);
        let (billing, provider) = (&self.payer.billing, &self.account.name);
        let moment = billing.moment();
        self.reserved.take().into_iter().flatten().for_each(|reserved| reserved.settle(moment, cost.spent()));
        let meter = billing.meter.cost(provider, &self.payer.client, &self.payer.purpose);
        match cost.billed {
            Billed::Yes => {
                meter.billed(cost.price);
                self.account.spend.prepaid().history.billed(billing.clock.today_in_china());
            }
            Billed::Unknown => meter.possible(cost.price),
            Billed::No => {}
        }
        if result.as_ref().is_err_and(|fault| fault.reason == Reason::QuotaUsedUp) {
            self.account.spend.prepaid().history.used_up(billing.clock.today_in_china());
        }
        if cost.billed == Billed::Yes {
            self.is_billed_twice(cost.verdict, keep).await;
        }
    }

    /// Tells whoever looks for it that this is a second bill, if it is one.
    async fn is_billed_twice(&self, verdict: Option<Verdict>, keep: &CacheSlot) {
        let Payer { billing, verification, wants_second_opinion, .. } = &self.payer;
        let (provider, person) = (&self.account.name, keep.work.person());
        let window = verdict.map(|verdict| keep.verdict_cache.cache.lifetime(verdict)).unwrap_or_default();
        let bill = Bill::new(provider, *verification, verdict, window);
        let earlier = billing.duplicate_bills.put(person, bill).await;
        // Looked at afterwards: whoever forgets marks the work first and looks into the table then.
        if keep.work.is_forgotten() {
            billing.duplicate_bills.forget(&person).await;
        }
        let Some(earlier) = earlier else { return };
        if *wants_second_opinion && earlier.verification == *verification && earlier.verdict == Some(Verdict::NoRecord)
        {
            return;
        }
        billing.meter.duplicate(provider);
        tracing::warn!(
            provider = &**provider,
            verification_id = %verification,
            earlier_provider = &*earlier.provider,
            earlier_verification_id = %earlier.verification,
            agrees = earlier.verdict == verdict,
            "the same person was billed twice within the time for which the first verdict is remembered"
        );
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.reserved.is_some() {
            let Payer { billing, client, purpose, .. } = &self.payer;
            billing.meter.cost(&self.account.name, client, purpose).possible(self.account.prices.most());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Outcome;

    #[test]
    fn a_call_counts_if_it_brought_a_verdict_or_may_be_billed() {
        let prices = Prices { on_match: MicroYuan(30), on_mismatch: MicroYuan(50), on_no_record: MicroYuan(0) };
        let cost = |result| {
            let cost = Cost::of(&prices, &result);
            (cost.billed, cost.price.0, cost.spent().calls)
        };
        let found = |verdict| Ok(Finding { verdict, request_id: None });
        assert_eq!(cost(found(Verdict::Match)), (Billed::Yes, 30, 1));
        assert_eq!(cost(found(Verdict::NoRecord)), (Billed::No, 0, 1));
        assert_eq!(cost(Err(Fault::new(Outcome::Timeout, Reason::Unspecified))), (Billed::Unknown, 50, 1));
        assert_eq!(cost(Err(Fault::new(Outcome::Unreachable, Reason::Unspecified))), (Billed::No, 0, 0));
    }
}
