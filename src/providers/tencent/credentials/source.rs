//! A source of keys, or a chain of sources.

use std::fmt;
use std::path::PathBuf;

use super::sts::Role;
use super::{metadata, profile_file, sts};
use crate::providers::source::{Granted, MissReason, Source, Step};
use crate::providers::{Credential, Endpoint};

/// The parsed table, with a fingerprint of its input.
pub(in crate::providers::tencent) struct Credentials {
    pub(super) kind: Kind,
    pub(super) fingerprint: [u8; 32],
}

/// A source of keys, or a chain of sources.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// The first source that works.
    DefaultChain(Vec<Kind>),
    /// Keys from the environment, if set.
    Environment(Option<Credential>),
    /// A section of the first readable file.
    ProfileFile { files: Vec<PathBuf>, section: String },
    /// The role of the CVM instance.
    CvmMetadata { endpoint: Endpoint, role: Option<String> },
    /// A role, assumed with an OIDC token from a file.
    OidcRole { role: Role, provider: String, token_file: PathBuf },
    /// A role, assumed with other keys.
    AssumeRole { role: Role, base: Credential },
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
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::DefaultChain(_) => "default_chain",
            Kind::Environment(_) => "environment",
            Kind::ProfileFile { .. } => "profile_file",
            Kind::CvmMetadata { .. } => "cvm_metadata",
            Kind::OidcRole { .. } => "oidc_role",
            Kind::AssumeRole { .. } => "assume_role",
        }
    }

    fn begin(&self, kept: Option<&'static str>) -> Step {
        let name = self.name();
        match self.clone() {
            Kind::DefaultChain(links) => match links.iter().find(|link| kept == Some(link.name())) {
                Some(kept) => kept.begin(None),
                None => first_of(links.into_iter()),
            },
            Kind::Environment(Some(credential)) => Step::Done(Granted { credential, ends: None, from: name }),
            Kind::Environment(None) => Step::failed(name, MissReason::NotSet),
            Kind::ProfileFile { files, section } => profile_file::begin(name, files, section),
            Kind::CvmMetadata { endpoint, role } => metadata::begin(name, endpoint, role),
            Kind::OidcRole { role, provider, token_file } => sts::with_web_identity(name, role, provider, token_file),
            Kind::AssumeRole { role, base } => sts::assume_role(name, role, base),
        }
    }
}

fn first_of(mut links: std::vec::IntoIter<Kind>) -> Step {
    match links.next() {
        Some(link) => link.begin(None).or_else(move || first_of(links)),
        None => Step::Failed(Vec::new()),
    }
}
