//! One source of AccessKeys, or a chain of them.

use std::fmt;
use std::path::PathBuf;

use super::cli_profile::{self, CliProfile};
use super::imds::{self, Metadata};
use super::profile_file::{self, ProfileFile};
use super::sts::{self, Role};
use super::uri::{self, KeysUri};
use crate::providers::Credential;
use crate::providers::source::{Granted, MissReason, Source, Step};

/// The parsed table, with a fingerprint of its input.
pub struct Credentials {
    pub(super) kind: Kind,
    pub(super) fingerprint: [u8; 32],
}

/// A source of keys, or a chain of sources.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The first source that works.
    DefaultChain(Vec<Kind>),
    /// Keys from the environment, if set.
    Environment(Option<Credential>),
    /// A role, assumed with an OIDC token from a file.
    OidcRole {
        role: Role,
        /// The OIDC provider that issued the token.
        provider_arn: String,
        token_file: PathBuf,
    },
    CliProfile(CliProfile),
    ProfileFile(ProfileFile),
    /// The role of the ECS instance.
    EcsMetadata(Metadata),
    /// An HTTP helper.
    Uri(KeysUri),
    /// A role, assumed with other keys.
    RamRoleArn {
        role: Role,
        base: Credential,
    },
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
        // Secrets are left out: a digest of a short secret can be brute-forced.
        self.kind.fmt(f)
    }
}

impl Kind {
    /// Its name in the configuration.
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

    /// Starts a fetch, see [`Source::begin`].
    pub fn begin(&self, kept: Option<&'static str>) -> Step {
        let name = self.name();
        match self.clone() {
            Kind::DefaultChain(links) => match links.iter().find(|link| kept == Some(link.name())) {
                Some(kept) => kept.begin(None),
                None => first_of(links.into_iter()),
            },
            Kind::Environment(Some(credential)) => Step::Done(Granted { credential, ends: None, from: name }),
            Kind::Environment(None) => Step::failed(name, MissReason::NotSet),
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
