//! Where the vendor's keys come from when they are not written into the configuration: `credentials = { … }`.
//!
//! | kind | keys come from |
//! | --- | --- |
//! | `default_chain` | the first of the following, but `assume_role`, that works, in the vendor's order; it is kept |
//! | `environment` | `TENCENTCLOUD_SECRET_ID`, `…_SECRET_KEY`, and `TENCENTCLOUD_TOKEN` or `…_SESSION_TOKEN` |
//! | `profile_file` | the vendor's INI file, `~/.tencentcloud/credentials`, else `/etc/tencentcloud/credentials` |
//! | `cvm_metadata` | the machine's own role |
//! | `oidc_role` | STS, for a token that Kubernetes writes into a file (TKE) |
//! | `assume_role` | STS, for other keys |
//!
//! Invariants: one file per kind, pure; what is wrong with the settings is found when the configuration is read, what
//! is wrong with a source when it is asked. To add a kind: a variant of `Kind`, its keys in `settings.rs`, a file with
//! its `begin`.

mod answer;
mod metadata;
mod profile_file;
mod settings;
mod simulated;
mod source;
mod sts;

pub(super) use self::settings::{VARIABLES, configure, is_ours, is_present};
pub(super) use self::simulated::PLACES;
