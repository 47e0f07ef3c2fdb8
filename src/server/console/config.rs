//! `[console]`.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;

const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Section `[console]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// The client that the questions of the console belong to.
    #[serde(default)]
    pub client: Option<String>,
    /// How long somebody stays signed in.
    #[serde(with = "friendly")]
    pub session: Duration,
}

impl Config {
    /// All errors, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_fine = (SHORTEST..=LONGEST).contains(&self.session);
        let text = || ("session", "must be 1 minute to 24 hours; write for example \"8h\"".to_owned());
        (!is_fine).then(text).into_iter().collect()
    }
}
