//! Where the vendor's AccessKeys come from when they are not written into the configuration: `credentials = { … }`.
//!
//! | kind | keys come from |
//! | --- | --- |
//! | `default_chain` | the first of the following, but `ram_role_arn`, that works, in the vendor's order; it is kept |
//! | `environment` | `ALIBABA_CLOUD_ACCESS_KEY_ID`, `…_SECRET`, `ALIBABA_CLOUD_SECURITY_TOKEN` |
//! | `oidc_role` | STS, for a token that Kubernetes writes into a file (RRSA) |
//! | `cli_profile` | the vendor's command line, `~/.aliyun/config.json` |
//! | `profile_file` | the vendor's INI file, `~/.alibabacloud/credentials` |
//! | `ecs_metadata` | the machine's own role |
//! | `uri` | a helper that answers a GET |
//! | `ram_role_arn` | STS, for other keys |
//!
//! Invariants: one file per kind, pure; secrets travel in bodies and headers, never in a URL that we make; what is
//! wrong with the settings is found out when the configuration is read, what is wrong with a source when it is asked.
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
