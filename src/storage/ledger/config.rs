//! Section `[ledger]`.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de};

use super::postgres;

/// The shortest time for which entries are kept.
const SHORTEST_KEEP: Duration = Duration::from_hours(24);

/// Section `[ledger]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database file; without one, nothing is recorded.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The folder of the spool and the journal; by default, the database's folder.
    #[serde(default)]
    pub spool_folder: Option<PathBuf>,
    /// How many bytes both files of the spool may have together; paid calls are refused then.
    #[serde(default)]
    pub(super) spool_most: Size,
    /// How long entries are kept.
    pub(super) keep: Span,
    /// Instead of `file`: the record of many replicas.
    #[serde(default)]
    pub postgres: Option<postgres::Config>,
    /// Whose spool and whose books these are; filled in from `replica.name`.
    #[serde(skip)]
    pub replica: String,
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl Default for Size {
    fn default() -> Self {
        Self(4 << 30)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("is no size; write \"4GiB\" or \"512MiB\""))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let (number, shift) =
            units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), *shift)))?;
        Some(Self(number.parse::<u64>().ok()?.checked_mul(1 << shift)?))
    }
}

/// A batch of entries must fit in.
const SMALLEST_SPOOL: u64 = 1 << 24;

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.keep().is_none_or(|keep| keep < SHORTEST_KEEP) {
            mistakes.push(("keep", "is no time of a day or more; write \"400 days\" or \"26 weeks\"".to_owned()));
        }
        if self.spool_most.0 < SMALLEST_SPOOL {
            mistakes.push(("spool_most", "is less than 16MiB; write \"4GiB\"".to_owned()));
        }
        if let Some(postgres) = &self.postgres {
            if self.file.is_some() {
                mistakes.push(("file", "and ledger.postgres cannot both be the record; remove one".to_owned()));
            }
            if self.spool_folder.is_none() {
                mistakes.push(("postgres", "wants ledger.spool_folder on a disk that stays".to_owned()));
            }
            mistakes.extend(postgres.validate());
        }
        mistakes
    }

    /// Whether anything is recorded.
    pub const fn is_on(&self) -> bool {
        self.file.is_some() || self.postgres.is_some()
    }

    /// How long entries are kept; `None` if a unit such as months has no fixed length.
    pub fn keep(&self) -> Option<Duration> {
        self.keep.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
    }
}
