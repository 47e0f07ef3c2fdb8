//! Access to answers in the ledger: lookups by id and by person, signed receipts, and the erasure of persons.

pub mod forget;
pub mod handlers;
mod lookup;
mod query;
pub mod receipt;
mod state;
pub mod verification;

pub use state::Records;
