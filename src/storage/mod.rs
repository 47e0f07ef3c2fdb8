//! State that outlives a request: the verdict cache and the ledger.

mod cache;
pub mod ledger;
pub mod table;

pub use cache::{Cache, CacheKey, Config, LONGEST_LIFETIME, Remembered, Scope, Sharing};
