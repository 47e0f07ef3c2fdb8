//! Laptop or production: needed before anything else is read, because it decides how secrets may be written.

use config::ValueKind;
use serde::Deserialize;

use super::draft::Tree;

/// How strict to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A laptop.
    Development,
    /// What is for a laptop is refused.
    Production,
}

impl Profile {
    /// The profile as far as it can be read; what cannot be read is reported with the rest, and strictness is safe.
    pub(super) fn of(tree: &Tree) -> Self {
        match tree.get("profile").map(|value| &value.kind) {
            Some(ValueKind::String(word)) if word == "development" => Profile::Development,
            _ => Profile::Production,
        }
    }
}
