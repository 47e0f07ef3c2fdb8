//! State that outlives a request: the verdict cache, the ledger, and what replicas share.

mod cache;
pub mod ledger;
pub mod shared;
pub mod table;

pub use cache::{Cache, CacheKey, Config, LONGEST_LIFETIME, Remembered, Scope, Sharing};
