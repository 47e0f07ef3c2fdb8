//! `Idempotency-Key`: the same key and body get the same answer for 24 hours; another body with that key is refused.
//!
//! Two levels: `keys` in memory (in a table that clients share fairly, `slots`), and behind it the ledger, which
//! `lookup` asks. After a restart a finished key answers from there.

mod forgetting;
mod keys;
mod lookup;
mod slots;

pub use forgetting::Forgetting;
pub(in crate::server) use keys::not_before;
pub use keys::{Claim, ClaimResult, Done, Idempotency, InProgress, Lookup, LookupWait, Owner};
pub(in crate::server) use lookup::{Keyed, LedgerLookup};
