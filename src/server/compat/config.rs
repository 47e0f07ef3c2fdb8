//! Section `[compat]`: whether and how the providers' own protocols are spoken.

use serde::Deserialize;

/// Section `[compat]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the providers' protocols are spoken at all.
    pub enabled: bool,
    /// Whether an AppCode is also accepted in the query.
    pub appcode_in_query: bool,
    /// The most nonces that are kept for each key.
    pub nonces_per_key: usize,
}

/// Half an hour of about one request in two seconds.
const FEWEST_NONCES: usize = 1000;
/// About fifty bytes each.
const MOST_NONCES: usize = 100_000_000;

impl Config {
    /// All mistakes, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_sound = (FEWEST_NONCES..=MOST_NONCES).contains(&self.nonces_per_key);
        let text = "must be from 1000 to 100000000, or busy callers would be refused; write 500000";
        if is_sound { Vec::new() } else { vec![("nonces_per_key", text.to_owned())] }
    }
}
