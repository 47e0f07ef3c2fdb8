//! State that outlives a request: the verdict cache and the ledger.

mod cache;
pub mod ledger;

pub use cache::{Cache, Config, LONGEST_LIFETIME, Remembered, Sharing};
