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
//! Invariants: one file per kind, pure; secrets travel in bodies and headers, never in a URL that we make; what is wrong
//! with the settings is found out when the configuration is read, what is wrong with a source when it is asked.
//! To add a kind: a variant here, its keys in `settings.rs`, a file with its `begin`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::providers::source::{Granted, Source, Step, Trouble};
use crate::providers::{Credential, Endpoint};

pub mod answer;
pub mod cli_profile;
pub mod imds;
pub mod profile_file;
mod settings;
pub mod sts;
pub mod uri;

pub use settings::{KEYS, VARIABLES, configure, is_ours, is_present};

use cli_profile::CliProfile;
use imds::Metadata;
use profile_file::ProfileFile;
use sts::Role;
use uri::Place;

/// The vendor's default for the life of a role's keys.
const HOUR: Duration = Duration::from_hours(1);
/// The shortest life that STS grants.
const SHORTEST: Duration = Duration::from_mins(15);

/// What the table says, with what it was read from as a fingerprint.
pub struct Credentials {
    kind: Kind,
    fingerprint: [u8; 32],
}

/// One place to get keys from, or several.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The first that works.
    DefaultChain(Vec<Kind>),
    /// Keys of the environment, if it has some.
    Environment(Option<Credential>),
    /// A role, for a token in a file.
    OidcRole {
        /// The role.
        role: Role,
        /// Who vouches for the token.
        provider_arn: String,
        /// Where the token is.
        token_file: PathBuf,
    },
    /// A profile of the command line.
    CliProfile(CliProfile),
    /// A section of the INI file.
    ProfileFile(ProfileFile),
    /// The machine's role.
    EcsMetadata(Metadata),
    /// A helper.
    Uri(Place),
    /// A role, for other keys.
    RamRoleArn {
        /// The role.
        role: Role,
        /// The other keys.
        base: Credential,
    },
}

/// Where the ways through a profile lead.
#[derive(Debug, Clone)]
pub struct Places {
    /// STS, if it is configured.
    pub sts_endpoint: Option<Endpoint>,
    /// The region of STS otherwise.
    pub sts_region: Option<String>,
    /// Whether STS is asked inside the cloud's network.
    pub vpc: bool,
    /// The metadata service.
    pub metadata: Endpoint,
    /// Whether metadata is asked without a token if need be.
    pub allow_v1: bool,
    /// What the use of a role is called.
    pub session: String,
}

impl Places {
    /// Where STS is, by the vendor's rules: the network matters only beside a region.
    pub(self) fn sts(&self, region: Option<&str>, vpc: Option<bool>) -> Result<Endpoint, String> {
        if let Some(endpoint) = &self.sts_endpoint {
            return Ok(endpoint.clone());
        }
        match region.or(self.sts_region.as_deref()) {
            None => Endpoint::parse("https://sts.aliyuncs.com"),
            Some(region) if region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
                let network = if vpc.unwrap_or(self.vpc) { "-vpc" } else { "" };
                Endpoint::parse(&format!("https://sts{network}.{region}.aliyuncs.com"))
            }
            Some(_) => Err("is no region".to_owned()),
        }
    }
}

/// How long a role's keys shall live.
fn seconds(configured: Option<u64>) -> Duration {
    configured.filter(|seconds| *seconds > 0).map_or(HOUR, |seconds| Duration::from_secs(seconds).max(SHORTEST))
}

impl Source for Credentials {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn begin(&self, kept: Option<&'static str>) -> Step {
        self.kind.begin(kept)
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A digest that a short secret went into is nearly the secret.
        self.kind.fmt(f)
    }
}

impl Kind {
    /// Its word in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::DefaultChain(_) => "default_chain",
            Kind::Environment(_) => "environment",
            Kind::OidcRole { .. } => "oidc_role",
            Kind::CliProfile(_) => cli_profile::NAME,
            Kind::ProfileFile(_) => profile_file::NAME,
            Kind::EcsMetadata(_) => "ecs_metadata",
            Kind::Uri(_) => "uri",
            Kind::RamRoleArn { .. } => "ram_role_arn",
        }
    }

    /// Begins to fetch, see [`Source::begin`].
    pub fn begin(&self, kept: Option<&'static str>) -> Step {
        let name = self.name();
        match self.clone() {
            Kind::DefaultChain(links) => match links.iter().find(|link| kept == Some(link.name())) {
                Some(kept) => kept.begin(None),
                None => first_of(links.into_iter()),
            },
            Kind::Environment(Some(credential)) => Step::Done(Granted { credential, ends: None, from: name }),
            Kind::Environment(None) => Step::failed(name, Trouble::NotSet),
            Kind::OidcRole { role, provider_arn, token_file } => {
                sts::assume_role_with_oidc(name, role, provider_arn, token_file)
            }
            Kind::CliProfile(settings) => cli_profile::begin(settings),
            Kind::ProfileFile(settings) => profile_file::begin(settings),
            Kind::EcsMetadata(metadata) => imds::begin(name, metadata),
            Kind::Uri(place) => uri::begin(name, place),
            Kind::RamRoleArn { role, base } => {
                sts::assume_role(name, role, Granted { credential: base, ends: None, from: name })
            }
        }
    }
}

fn first_of(mut links: std::vec::IntoIter<Kind>) -> Step {
    match links.next() {
        Some(link) => link.begin(None).or_else(move || first_of(links)),
        None => Step::Failed(Vec::new()),
    }
}
