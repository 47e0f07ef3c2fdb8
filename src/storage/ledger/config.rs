//! Section `[ledger]`.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;

/// The shortest time for which entries are kept.
const SHORTEST_KEEP: Duration = Duration::from_hours(24);

/// Section `[ledger]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database file; without one, nothing is recorded.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The folder of the spool and the journal; by default, the database's folder.
    #[serde(default)]
    pub spool_folder: Option<PathBuf>,
    /// How long entries are kept.
    pub(super) keep: Span,
}

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let is_long_enough = self.keep().is_some_and(|keep| keep >= SHORTEST_KEEP);
        let mistake = || ("keep", "is no time of a day or more; write \"400 days\" or \"26 weeks\"".to_owned());
        (!is_long_enough).then(mistake).into_iter().collect()
    }

    /// How long entries are kept; `None` if a unit such as months has no fixed length.
    pub fn keep(&self) -> Option<Duration> {
        self.keep.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
    }
}
