//! Sources of AccessKeys that are not written into the configuration: `credentials = { … }`.
//!
//! | kind | keys come from |
//! | --- | --- |
//! | `default_chain` | the first working source below, except `ram_role_arn`, in the vendor's order; the choice is kept
//! |
//! | `environment` | `ALIBABA_CLOUD_ACCESS_KEY_ID`, `…_SECRET`, `ALIBABA_CLOUD_SECURITY_TOKEN` |
//! | `oidc_role` | STS, with an OIDC token that Kubernetes writes into a file (RRSA) |
//! | `cli_profile` | the vendor's CLI, `~/.aliyun/config.json` |
//! | `profile_file` | the vendor's INI file, `~/.alibabacloud/credentials` |
//! | `ecs_metadata` | the role of the ECS instance |
//! | `uri` | an HTTP helper queried by GET |
//! | `ram_role_arn` | STS, with other keys |
//!
//! Invariants: each kind has one file and does no I/O itself. Secrets are sent in bodies and headers, never in a URL
//! that we build. Configuration errors are reported at load time, errors of a source when it is queried.
//! To add a kind: a variant of `Kind`, its keys in `settings.rs`, a file with its `begin`.

pub mod answer;
pub mod cli_profile;
pub mod imds;
pub mod profile_file;
mod services;
mod settings;
mod simulated;
mod source;
pub mod sts;
pub mod uri;

pub use self::settings::{KEYS, VARIABLES, configure, is_ours, is_present};
pub use self::simulated::PLACES;
