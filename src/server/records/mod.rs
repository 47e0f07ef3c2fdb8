//! Answers found again: look-ups by id and by person, and signed receipts.

pub mod lookup;
pub mod receipt;
pub mod verification;
