//! Sources of the vendor's keys that are not written into the configuration: `credentials = { … }`.
//!
//! | kind | keys come from |
//! | --- | --- |
//! | `default_chain` | the first working source below, except `assume_role`, in the vendor's order; the choice is kept
//! |
//! | `environment` | `TENCENTCLOUD_SECRET_ID`, `…_SECRET_KEY`, and `TENCENTCLOUD_TOKEN` or `…_SESSION_TOKEN` |
//! | `profile_file` | the vendor's INI file, `~/.tencentcloud/credentials`, else `/etc/tencentcloud/credentials` |
//! | `cvm_metadata` | the role of the CVM instance |
//! | `oidc_role` | STS, with an OIDC token that Kubernetes writes into a file (TKE) |
//! | `assume_role` | STS, with other keys |
//!
//! Invariants: each kind has one file and does no I/O itself. Configuration errors are reported at load time, errors of
//! a source when it is queried. To add a kind: a variant of `Kind`, its keys in `settings.rs`, a file with its `begin`.

mod answer;
mod metadata;
mod profile_file;
mod settings;
mod simulated;
mod source;
mod sts;

pub(super) use self::settings::{VARIABLES, configure, is_ours, is_present};
pub(super) use self::simulated::PLACES;
