//! The verdict cache.
//!
//! Only a [`Remembered`] verdict can be stored, so failures are never cached. Values do not identify a person, and keys
//! are keyed digests.

mod cache_key;
mod config;
mod memory;
mod reference;
mod remembered;
#[cfg(test)]
mod tests;
mod verdicts;

pub use cache_key::{CacheKey, Scope};
pub use config::{Config, LONGEST_LIFETIME, Sharing};
pub(in crate::storage) use reference::Reference;
pub use remembered::Remembered;
pub use verdicts::Cache;
