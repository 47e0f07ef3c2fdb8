//! Billing: reserves the maximum cost before a call and settles the actual cost after it.
//!
//! A `Payer` (one per flight) reserves each call in the budgets of the client and the provider and returns a
//! `Reservation`, which lives as long as the call. `endpoint` settles it in one of two places: for an answer in time,
//! or for a late one. If it is dropped unsettled, the maximum cost counts as spent. `totals` holds the sums and limits
//! (`budget`), `duplicate_bills` detects when a person is billed twice, and `packages` computes what is left of prepaid
//! packages.

mod budget;
mod cost;
mod duplicate_bills;
mod meter;
mod opening;
mod packages;
mod provider_spend;
mod refill;
mod reservation;
mod shared_budgets;
mod totals;

pub use budget::Budget;
pub(super) use cost::Cost;
#[cfg(test)]
pub(super) use duplicate_bills::{Bill, Bills};
pub use opening::Opening;
pub use packages::Package;
pub(super) use provider_spend::ProviderSpend;
pub(super) use reservation::{Payer, Reservation, UsedUp};
pub use totals::Billing;
