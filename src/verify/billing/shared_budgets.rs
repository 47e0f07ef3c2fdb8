//! Budgets of all replicas together. What this replica has spent and reserved stays the local truth; what the others have
//! comes with each answer of Redis. While Redis is away, each replica has its part of what was left.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::reservation::{Payer, Reservation, UsedUp};
use super::totals::Billing;
use crate::resilience::spending::{Full, Limit, Moment, Spending, Use};
use crate::storage::shared::{Granted, Others, Owner, Patience, Shared, Totals};
use crate::verify::account::Account;

/// An owner with a limit.
struct Limited {
    owner: Owner,
    name: Arc<str>,
    spending: Arc<Spending>,
    _turn: OwnedMutexGuard<()>,
}

impl Payer {
    /// Like [`Payer::reserve`], in the budgets of all replicas together.
    ///
    /// # Errors
    /// One of the budgets has too little left. Nothing is reserved then.
    pub(in crate::verify) async fn reserve_shared(
        &self,
        account: &Arc<Account>,
        shared: &Shared,
        patience: &Patience,
    ) -> Result<Reservation, UsedUp> {
        if !self.knows_what_was_spent(account) {
            return Err(UsedUp::Unknown);
        }
        if !shared.is_on() {
            return self.reserve(account);
        }
        let owners =
            [(Owner::Client, &self.client, &self.spending), (Owner::Provider, &account.name, &account.spend.spending)];
        let mut limited = Vec::new();
        // Always in this order, so that nobody waits in a circle.
        for (owner, name, spending) in owners {
            if spending.is_limited() {
                let turn = shared.turn(owner, name).lock_owned().await;
                let (name, spending) = (Arc::clone(name), Arc::clone(spending));
                limited.push(Limited { owner, name, spending, _turn: turn });
            }
        }
        let divide = |moment| limited.iter().for_each(|one| one.divide(shared, moment));
        if !shared.is_up() {
            divide(self.billing.moment());
            return self.reserve(account);
        }
        let reservation = self.reserve(account)?;
        for one in &limited {
            let moment = self.billing.moment();
            match one.reserve(shared, moment, patience).await {
                Ok(None) => {}
                Ok(Some(full)) => {
                    reservation.give_back();
                    return Err(self.used_up(one.owner, &one.name, full));
                }
                Err(Unknown) => {
                    // Decided anew, by our part of what is left.
                    reservation.give_back();
                    divide(self.billing.moment());
                    return self.reserve(account);
                }
            }
        }
        Ok(reservation)
    }
}

/// What the others have cannot be known now.
struct Unknown;

impl Limited {
    async fn reserve(&self, shared: &Shared, moment: Moment, patience: &Patience) -> Result<Option<Full>, Unknown> {
        let limits = self.spending.used(moment).map(|(Limit { calls, amount }, _)| [calls, amount]);
        let [[a, b], [c, d]] = limits;
        let totals = totals(&self.spending, moment);
        match shared.reserve((self.owner, &self.name), totals, [a, b, c, d], patience).await {
            Ok(Granted::Yes(others)) => {
                heard(&self.spending, totals, others);
                shared.is_divided(self.owner, &self.name, false);
                Ok(None)
            }
            Ok(Granted::Full(which, others)) => {
                heard(&self.spending, totals, others);
                Ok(Some(if which < 2 { Full::Day } else { Full::Month }))
            }
            Ok(Granted::Incomplete) | Err(_) => Err(Unknown),
        }
    }

    fn divide(&self, shared: &Shared, moment: Moment) {
        self.spending.divide(moment, shared.most());
        shared.is_divided(self.owner, &self.name, true);
    }
}

impl Billing {
    /// Tells the other replicas what this one has spent and reserved, and hears what they have.
    pub async fn tell(&self, shared: &Shared) {
        if !self.is_known() {
            // It would be less than what the process before this one has told.
            return;
        }
        for (owner, name, spending) in self.limited() {
            // Or a reservation under way would be overwritten by what was before it.
            let _turn = shared.turn(owner, &name).lock_owned().await;
            let totals = totals(&spending, self.moment());
            if let Ok(Some(others)) = shared.write_totals((owner, &name), totals).await {
                heard(&spending, totals, others);
                shared.is_divided(owner, &name, false);
            }
        }
    }
}

fn totals(spending: &Spending, moment: Moment) -> Totals {
    let [(day, of_day), (month, of_month)] = spending.totals(moment);
    Totals { day, month, used: [of_day.calls, of_day.amount, of_month.calls, of_month.amount] }
}

fn heard(spending: &Spending, asked: Totals, Others([a, b, c, d]): Others) {
    let of = |calls, amount| Use { calls, amount };
    spending.heard([(asked.day, of(a, b)), (asked.month, of(c, d))]);
}
