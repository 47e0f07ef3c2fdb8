//! Reserves the maximum cost before a call and settles the actual cost when the call has ended.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::cost::Cost;
use super::duplicate_bills::{Bill, Earlier};
use super::totals::Billing;
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Reason};
use crate::domain::subject::Digest;
use crate::domain::verdict::{Finding, Verdict};
use crate::resilience::spending::{Full, Reserved, Spending};
use crate::storage::shared::{self, Owner, Shared};
use crate::verify::account::Account;
use crate::verify::question::Question;
use crate::verify::verdict_cache::CacheSlot;

/// Reserves the calls of one flight on behalf of the client that started it.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Payer {
    pub(super) billing: Arc<Billing>,
    pub(super) spending: Arc<Spending>,
    pub(super) client: Arc<str>,
    purpose: Arc<str>,
    verification: Uuid,
    /// Whether the policy has the next provider confirm a `no_record`, which makes a second bill intentional.
    wants_second_opinion: bool,
    /// The other replicas; `None` if nothing is shared.
    replicas: Option<Shared>,
}

/// The reserved cost of one call. If dropped unsettled, the call counts as one that may have been billed.
#[derive(Debug)]
#[must_use = "a reservation is settled or given back"]
pub(in crate::verify) struct Reservation {
    payer: Payer,
    account: Arc<Account>,
    reserved: Option<[Reserved; 2]>,
}

/// The owner of the used-up budget, and the time until its period ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum UsedUp {
    Client(Duration),
    Provider(Duration),
    /// It cannot be known yet what was spent before this start.
    Unknown,
}

impl Payer {
    pub(in crate::verify) fn new(billing: &Arc<Billing>, question: &Question, wants_second_opinion: bool) -> Self {
        Self {
            spending: billing.client(&question.client),
            billing: Arc::clone(billing),
            client: Arc::clone(&question.client),
            purpose: Arc::clone(&question.purpose),
            verification: question.ticket.id,
            wants_second_opinion,
            replicas: None,
        }
    }

    /// Compares its bills with those of the other replicas too.
    pub(in crate::verify) fn sharing(mut self, shared: &Shared) -> Self {
        self.replicas = shared.is_on().then(|| shared.clone());
        self
    }

    /// Reserves the maximum cost of a call in the budgets of the client and the provider.
    ///
    /// # Errors
    /// One of the two budgets has too little left. Nothing is reserved then.
    pub(in crate::verify) fn reserve(&self, account: &Arc<Account>) -> Result<Reservation, UsedUp> {
        let (moment, most) = (self.billing.moment(), account.prices.most().0);
        let of_client = self.spending.try_reserve(moment, most);
        let of_client = of_client.map_err(|full| self.used_up(Owner::Client, &self.client, full))?;
        let of_provider = match account.spend.spending.try_reserve(moment, most) {
            Ok(reserved) => reserved,
            Err(full) => {
                of_client.release();
                return Err(self.used_up(Owner::Provider, &account.name, full));
            }
        };
        Ok(Reservation { payer: self.clone(), account: Arc::clone(account), reserved: Some([of_client, of_provider]) })
    }
}

impl Payer {
    /// Whether it is known what was spent of the budgets of both, if they have any.
    pub(super) fn knows_what_was_spent(&self, account: &Account) -> bool {
        self.billing.is_known() || !(self.spending.is_limited() || account.spend.spending.is_limited())
    }

    /// Counts a refusal.
    pub(super) fn used_up(&self, owner: Owner, name: &str, full: Full) -> UsedUp {
        self.billing.meter.refused(owner.as_str(), name);
        let left = self.billing.until_over(full);
        match owner {
            Owner::Client => UsedUp::Client(left),
            Owner::Provider => UsedUp::Provider(left),
        }
    }
}

impl Reservation {
    /// Releases the reservation of a call that is not made.
    pub(in crate::verify) fn give_back(mut self) {
        self.reserved.take().into_iter().flatten().for_each(Reserved::release);
    }

    /// What the call has cost. A billed one uses up a call of a package, so this is asked once.
    pub(in crate::verify) fn cost(&self, result: &Result<Finding, Fault>) -> Cost {
        let cost = Cost::of(&self.account.prices, result);
        if cost.billed != Billed::Yes {
            return cost;
        }
        let day = self.payer.billing.clock.believed_date_in_china();
        let price = self.account.spend.prepaid().take(day).unwrap_or(cost.price);
        Cost { price, ..cost }
    }

    /// Settles a call that has ended, in time or late.
    pub(in crate::verify) fn settle(mut self, cost: Cost, result: &Result<Finding, Fault>, cache_slot: &CacheSlot) {
        let (billing, provider) = (&self.payer.billing, &self.account.name);
        let moment = billing.moment();
        self.reserved.take().into_iter().flatten().for_each(|reserved| reserved.settle(moment, cost.spent()));
        let labels = [&**provider, &self.payer.client, &self.payer.purpose];
        match cost.billed {
            Billed::Yes => billing.meter.billed(labels, cost.price),
            Billed::Unknown => billing.meter.possible(labels, cost.price),
            Billed::No => {}
        }
        if result.as_ref().is_err_and(|fault| fault.reason == Reason::QuotaUsedUp) {
            self.account.spend.prepaid().history.used_up(billing.clock.believed_date_in_china());
        }
        if cost.billed == Billed::Yes {
            self.is_billed_twice(cost.verdict, cache_slot);
        }
    }

    /// Logs and counts a second bill about this person, unless it is an intended second opinion.
    fn is_billed_twice(&self, verdict: Option<Verdict>, cache_slot: &CacheSlot) {
        let Payer { billing, verification, wants_second_opinion, .. } = &self.payer;
        let (provider, person) = (&self.account.name, cache_slot.work.person());
        let window = verdict.map(|verdict| cache_slot.verdict_cache.cache.lifetime(verdict)).unwrap_or_default();
        let bill = Bill::new(provider, *verification, verdict, window);
        let earlier = billing.duplicate_bills.put(person, bill);
        // Checked after the write: an erasure sets the mark first and then removes the entry.
        if cache_slot.work.is_forgotten() {
            billing.duplicate_bills.forget(&person);
        } else if let Some(shared) = &self.payer.replicas {
            let bill = shared::Bill {
                provider: Arc::clone(provider),
                verification: *verification,
                verdict,
                at_ms: billing.clock.now().as_millisecond(),
                window,
            };
            compare_elsewhere(Arc::clone(billing), shared, person, bill, earlier.is_some());
        }
        let Some(earlier) = earlier else { return };
        if *wants_second_opinion && earlier.verification == *verification && earlier.verdict == Some(Verdict::NoRecord)
        {
            return;
        }
        billing.is_duplicate((provider, verdict, *verification), &earlier);
    }
}

/// Tells the other replicas of a bill, and counts it if one of them has paid for the same person too soon before.
fn compare_elsewhere(billing: Arc<Billing>, shared: &Shared, person: Digest, bill: shared::Bill, is_known: bool) {
    let keep = billing.duplicate_bills.keeps(bill.window);
    shared.bill(person, &bill.clone(), keep, move |earlier| {
        let window = i64::try_from(earlier.window.as_millis()).unwrap_or(i64::MAX);
        // A bill counts once, however many came before it.
        if !is_known && bill.at_ms.saturating_sub(earlier.at_ms) < window {
            let earlier =
                Earlier { provider: earlier.provider, verification: earlier.verification, verdict: earlier.verdict };
            billing.is_duplicate((&bill.provider, bill.verdict, bill.verification), &earlier);
        }
    });
}

impl Billing {
    /// Counts and logs a second bill about a person.
    fn is_duplicate(&self, (provider, verdict, verification): (&str, Option<Verdict>, Uuid), earlier: &Earlier) {
        self.meter.duplicate(provider);
        tracing::warn!(
            provider,
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
            billing.meter.possible([&self.account.name, client, purpose], self.account.prices.most());
        }
    }
}
