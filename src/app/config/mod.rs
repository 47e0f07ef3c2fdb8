//! The configuration: layers, then sections, then all mistakes at once.
//!
//! `reader` merges the layers (the embedded `config/default.toml`, which documents every key, then a file, then the
//! environment) into a `draft`. `sections` take out the parts that need special handling, `deserialize` turns the rest
//! into `raw` sections, and `settings` checks them together.
//!
//! Unknown keys are rejected. Every mistake is reported with its key and the remedy. No message contains a secret. Only
//! this module reads the environment. To add a key: the field in its module's `Config`, the line in `default.toml`, and
//! a check in `validate` if the value can be invalid.

mod change;
mod deserialize;
mod draft;
mod files;
mod mistakes;
pub(in crate::app) mod production;
mod profile;
mod raw;
mod reader;
mod sections;
mod settings;
mod suggest;

pub use change::{Difference, Sections};
pub use files::{Files, Reading};
pub use mistakes::{Mistake, Mistakes};
pub use profile::Profile;
pub use raw::{Behind, Format, Log, Reload, Rules, Server};
pub use reader::{DEFAULT, Found, Sources};
pub use sections::traces::Tracing;
pub use settings::Settings;
