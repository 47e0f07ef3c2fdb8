//! Money: every call is reserved before it is made and settled where it ends.
//!
//! A `Payer` (one per flight) reserves a call with the client and the provider, which gives a `Reservation`. It lives
//! as long as the call and is settled in one of two places of `endpoint`, in time or late; dropped unsettled, it counts
//! as spent. `totals` holds the sums and limits (`budget`), `duplicate_bills` notices when a person is billed twice,
//! `packages` tells what is left of prepaid packages.

mod budget;
mod cost;
mod duplicate_bills;
mod meter;
mod opening;
mod packages;
mod provider_spend;
mod reservation;
mod totals;

pub use budget::Budget;
pub(super) use cost::Cost;
pub use opening::Opening;
pub use packages::Package;
pub(super) use provider_spend::ProviderSpend;
pub(super) use reservation::{Payer, Reservation, UsedUp};
pub use totals::Billing;
