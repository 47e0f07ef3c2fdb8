//! The cache of verdicts.
//!
//! Only a [`Remembered`] verdict can be stored, so a failure never is. Values hold no person, and keys are keyed digests. A
//! slow or failing back end costs speed, never an answer.

mod config;
mod memory;
mod remembered;
#[cfg(test)]
mod tests;
mod verdicts;

pub use config::{Config, LONGEST_LIFETIME, Sharing};
pub use remembered::Remembered;
pub use verdicts::Cache;
