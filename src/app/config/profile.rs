//! The profile. It is read before anything else, because it decides how secrets may be written.

use config::ValueKind;
use serde::Deserialize;

use super::draft::Tree;

/// How strictly the configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// For local development.
    Development,
    /// Rejects settings that are acceptable for local development only.
    Production,
}

impl Profile {
    /// The configured profile. An invalid one is reported later; until then the strict profile applies.
    pub(super) fn of(tree: &Tree) -> Self {
        match tree.get("profile").map(|value| &value.kind) {
            Some(ValueKind::String(word)) if word == "development" => Profile::Development,
            _ => Profile::Production,
        }
    }
}
