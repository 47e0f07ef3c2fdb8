//! Answers found again: look-ups by id and by person, signed receipts; and persons forgotten.

pub mod forget;
pub mod handlers;
mod lookup;
mod query;
pub mod receipt;
mod state;
pub mod verification;

pub use state::Records;
