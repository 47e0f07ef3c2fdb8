//! State that outlives a request: the verdict cache and the ledger.

mod cache;
pub mod ledger;
pub mod table;

pub use cache::{Cache, Config, LONGEST_LIFETIME, Place, Remembered, Scope, Sharing};
