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

/// What the table says, with what it was read from as a fingerprint.
pub struct Credentials {
    pub(super) kind: Kind,
    pub(super) fingerprint: [u8; 32],
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
    Uri(KeysUri),
    /// A role, for other keys.
    RamRoleArn {
        /// The role.
        role: Role,
        /// The other keys.
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
