//! State that survives a request: the cache of verdicts and the ledger.

mod cache;
pub mod ledger;

pub use cache::{Cache, Config, LONGEST_LIFETIME, Remembered, Sharing};
