//! Reads the sums of a record that replicas share, again and again: what others have spent, those too that are gone, and
//! what they have taken from packages. A start without the record reads here what it could not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::opening::{histories, ms};
use super::totals::Billing;
use crate::resilience::spending::{Moment, Spending, Use};
use crate::storage::ledger::{Ledger, ReadError, Spent};

/// What was spent of the day and of the month, by owner.
type Sums = HashMap<String, [Use; 2]>;

impl Billing {
    /// Whether it is known what was spent before this process started.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    /// Reads what the record has.
    ///
    /// # Errors
    /// The ledger cannot be read. Nothing has changed then.
    pub async fn refill(&self, ledger: &Ledger) -> Result<(), ReadError> {
        let today = self.clock.believed_date_in_china();
        let (month, day) = (ms(today.first_of_month()), ms(today));
        let since = self.owners().since;
        // First what waits for everything that has ended here.
        let histories = histories(ledger, ms(since), i64::MAX).await?;
        let elsewhere = by_owner(ledger.spent_elsewhere(month, day).await?);
        let ours = match self.is_known() {
            true => None,
            false => Some(by_owner(ledger.spent(month, day).await?)),
        };
        let moment = self.moment();
        if let Some(ours) = ours {
            self.each(&ours, |spending, of| spending_before(spending, moment, of));
            self.is_known.store(true, Ordering::Release);
            tracing::warn!("what was spent before this start has been read; budgets count again");
        }
        let all: Vec<_> = {
            let owners = self.owners();
            owners
                .clients
                .values()
                .cloned()
                .chain(owners.providers.values().map(|one| Arc::clone(&one.spending)))
                .collect()
        };
        all.iter().for_each(|spending| spending.recorded(moment, Use::default(), Use::default()));
        self.each(&elsewhere, |spending, [day, month]| spending.recorded(moment, day, month));
        for (provider, history) in histories {
            self.spend(&Arc::from(provider)).prepaid().history = history;
        }
        Ok(())
    }

    fn each(&self, [clients, providers]: &[Sums; 2], mut each: impl FnMut(&Spending, [Use; 2])) {
        for (client, of) in clients {
            each(&self.client(&Arc::from(&**client)), *of);
        }
        for (provider, of) in providers {
            each(&self.spend(&Arc::from(&**provider)).spending, *of);
        }
    }
}

/// Adds what was spent before; the record also has what this process has spent since. A client with a limit has spent nothing.
fn spending_before(spending: &Spending, moment: Moment, [day, month]: [Use; 2]) {
    let [since_day, since_month] = spending.spent(moment);
    spending.spent_before(moment, day.without(since_day), month.without(since_month));
}

/// By client, and by provider.
fn by_owner(spent: Vec<Spent>) -> [Sums; 2] {
    let mut sums: [Sums; 2] = Default::default();
    for Spent { client, provider, calls_today, micro_yuan_today, calls, micro_yuan } in spent {
        let of = [Use { calls: calls_today, amount: micro_yuan_today }, Use { calls, amount: micro_yuan }];
        for (sums, owner) in sums.iter_mut().zip([client, provider]) {
            let all = sums.entry(owner).or_default();
            all.iter_mut().zip(of).for_each(|(all, of)| *all += of);
        }
    }
    sums
}
