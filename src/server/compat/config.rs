//! Section `[compat]`: the endpoints that speak the providers' own protocols.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the providers' protocols are served at all.
    pub enabled: bool,
    /// Whether an AppCode is also accepted as a query parameter.
    pub appcode_in_query: bool,
    /// Maximum number of nonces kept per key.
    pub nonces_per_key: usize,
}

/// Enough for half an hour at about one request every two seconds.
const FEWEST_NONCES: usize = 1000;
/// A nonce takes about 50 bytes.
const MOST_NONCES: usize = 100_000_000;

impl Config {
    /// All mistakes, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_sound = (FEWEST_NONCES..=MOST_NONCES).contains(&self.nonces_per_key);
        let text = "must be from 1000 to 100000000, or busy callers would be refused; write 500000";
        if is_sound { Vec::new() } else { vec![("nonces_per_key", text.to_owned())] }
    }
}
