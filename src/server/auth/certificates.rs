//! Client certificates: which client or operator they identify, and which credentials a request must present.
//!
//! Invariants: only certificates verified in the handshake count. A certificate that matches two owners identifies
//! none. A key that is sent must be valid, even where a certificate alone would be enough. To add a way to identify an
//! owner, add a field to [`CertificateConfig`] and a variant to [`Mark`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::key_config::parse_hash;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::listener::tls::PeerCertificate;

/// The credentials that a request must present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A key or a certificate; if both are sent, they must belong to the same client.
    #[default]
    Any,
    /// A key; certificates are ignored.
    Key,
    /// A certificate; keys are ignored.
    Certificate,
    /// A key and a certificate of the same client.
    Both,
}

/// A certificate of a client or an operator, identified by exactly one of `uri`, `dns` and `sha256`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// Public: appears in logs.
    pub id: String,
    /// A URI among the certificate's subject alternative names, such as a SPIFFE id.
    #[serde(default)]
    pub uri: Option<String>,
    /// A DNS name among the certificate's subject alternative names.
    #[serde(default)]
    pub dns: Option<String>,
    /// SHA-256 of the whole certificate (DER), 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// The part of a certificate that identifies its owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// Compared exactly as configured.
    Uri(Box<str>),
    /// In lower case.
    Dns(Box<str>),
    /// SHA-256 of the whole certificate.
    Sha256([u8; 32]),
}

/// Maps certificates to their owners.
#[derive(Debug)]
pub struct Certificates<T>(HashMap<Mark, (Arc<str>, Arc<T>)>);

/// The result of looking up a certificate.
#[derive(Debug)]
pub enum Owner<'a, T> {
    Unknown,
    /// The owner, and the public id of the configured certificate.
    One(&'a Arc<T>, &'a Arc<str>),
    /// Several owners match, so none is identified.
    Several,
}

impl CertificateConfig {
    /// What identifies the owner; `None` if the entry is invalid.
    pub fn mark(&self) -> Option<Mark> {
        match (&self.uri, &self.dns, &self.sha256) {
            (Some(uri), None, None) if uri.contains(':') => Some(Mark::Uri(uri.as_str().into())),
            (None, Some(dns), None) if !dns.is_empty() => Some(Mark::Dns(dns.to_ascii_lowercase().into())),
            (None, None, Some(hash)) => parse_hash(hash).map(Mark::Sha256),
            _ => None,
        }
    }

    /// All errors of a list, as (key, problem and remedy).
    pub fn validate(all: &[Self]) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        for (index, certificate) in all.iter().enumerate() {
            if certificate.mark().is_none() {
                let text = "must have exactly one of uri = \"spiffe://…\", dns = \"name.example\" and sha256 = \"…\" (64 \
                            hexadecimal digits; `openssl x509 -outform der | sha256sum`)";
                mistakes.push((format!("certificates[{index}]"), text.to_owned()));
            }
            let id = &certificate.id;
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
                let text = "must be 1 to 64 visible ASCII characters; it stands in logs".to_owned();
                mistakes.push((format!("certificates[{index}].id"), text));
            }
        }
        mistakes
    }
}

impl<T> Default for Certificates<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Certificates<T> {
    /// Adds the certificates of `owner`. Invalid entries are skipped; `validate` has already reported them.
    pub fn add(&mut self, certificates: &[CertificateConfig], owner: &Arc<T>) {
        for certificate in certificates {
            if let Some(mark) = certificate.mark() {
                self.0.insert(mark, (Arc::from(&*certificate.id), Arc::clone(owner)));
            }
        }
    }

    pub fn owner(&self, certificate: &PeerCertificate) -> Owner<'_, T> {
        let whole = std::iter::once(Mark::Sha256(*certificate.sha256()));
        let uris = certificate.uris().map(|uri| Mark::Uri(uri.into()));
        let names = certificate.dns().map(|name| Mark::Dns(name.into()));
        let mut owner = Owner::Unknown;
        for (id, one) in whole.chain(uris).chain(names).filter_map(|mark| self.0.get(&mark)) {
            match owner {
                Owner::Unknown => owner = Owner::One(one, id),
                Owner::One(known, _) if Arc::ptr_eq(known, one) => {}
                _ => return Owner::Several,
            }
        }
        owner
    }
}

/// Reason code and remedy.
pub(super) type Refusal = (&'static str, &'static str);

pub(super) const MISSING: Refusal =
    ("certificate_missing", "connect with the client certificate that is configured for this client; none was shown");
pub(super) const UNKNOWN: Refusal = (
    "certificate_unknown",
    "the client certificate is valid, but no client has its URI, DNS name or fingerprint under `certificates`; connect \
     with another one, or have it added",
);
pub(super) const SEVERAL: Refusal = (
    "certificate_ambiguous",
    "the client certificate names more than one client; connect with one that names a single client",
);
pub(super) const ANOTHER: Refusal = (
    "certificate_of_another_client",
    "the key and the client certificate belong to different clients; use a pair of the same client",
);
pub(super) const NO_KEY: Refusal =
    ("key_missing", "send `Authorization: Bearer <key>` as well; the client certificate alone is not enough here");

pub(in crate::server) fn refusal((reason, detail): Refusal) -> Refused {
    Box::new(Problem::new(Code::Unauthenticated).with_error("", reason, detail))
}

/// Certificates listed for more than one entry, as (key, problem and remedy). `all` yields each section with its list.
pub fn duplicates<'a>(all: impl Iterator<Item = (String, &'a [CertificateConfig])>) -> Vec<(String, String)> {
    let mut seen = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (section, list) in all {
        for (index, certificate) in list.iter().enumerate() {
            let at = format!("{section}.certificates[{index}]");
            let Some(mark) = certificate.mark() else { continue };
            match seen.get(&mark) {
                Some(first) => {
                    mistakes.push((at, format!("is the same certificate as {first}; each makes one known")));
                }
                None => drop(seen.insert(mark, at)),
            }
        }
    }
    mistakes
}
