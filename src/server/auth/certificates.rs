//! Who a client certificate belongs to, and what a request has to show of key and certificate.
//!
//! Invariants: only what the handshake has verified is looked at; a certificate that names two owners is nobody's; a key
//! that is sent has to be good, also where a certificate would do. To add a way of naming an owner: a member of
//! [`CertificateConfig`], a variant of [`Mark`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::key_config::parse_hash;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::listener::tls::PeerCertificate;

/// What a request has to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A key, or a certificate; if both, of the same client.
    #[default]
    Any,
    /// A key; a certificate says nothing.
    Key,
    /// A certificate; a key says nothing.
    Certificate,
    /// A key and a certificate of the same client.
    Both,
}

/// One certificate of a client or an operator: how its owner is named in it. Exactly one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// Public: it stands in logs.
    pub id: String,
    /// A URI among its alternative names, such as a SPIFFE id.
    #[serde(default)]
    pub uri: Option<String>,
    /// A DNS name among its alternative names.
    #[serde(default)]
    pub dns: Option<String>,
    /// The SHA-256 of the whole certificate (DER), 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// By what an owner is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    /// A URI, as it is.
    Uri(Box<str>),
    /// A DNS name, in lower case.
    Dns(Box<str>),
    /// The whole certificate.
    Sha256([u8; 32]),
}

/// The owners of certificates.
#[derive(Debug)]
pub struct Certificates<T>(HashMap<Mark, (Arc<str>, Arc<T>)>);

/// What a certificate says.
#[derive(Debug)]
pub enum Owner<'a, T> {
    /// Nobody whom we know.
    Nobody,
    /// This one; with the public id.
    One(&'a Arc<T>, &'a Arc<str>),
    /// Several, so nobody.
    Several,
}

impl CertificateConfig {
    /// By what its owner is known; nothing if it is written wrongly.
    pub fn mark(&self) -> Option<Mark> {
        match (&self.uri, &self.dns, &self.sha256) {
            (Some(uri), None, None) if uri.contains(':') => Some(Mark::Uri(uri.as_str().into())),
            (None, Some(dns), None) if !dns.is_empty() => Some(Mark::Dns(dns.to_ascii_lowercase().into())),
            (None, None, Some(hash)) => parse_hash(hash).map(Mark::Sha256),
            _ => None,
        }
    }

    /// All mistakes of a list, as (key, what is wrong and what to write).
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
    /// Makes `owner` known by each of `certificates`; what cannot be read is left out, for `validate` has reported it.
    pub fn add(&mut self, certificates: &[CertificateConfig], owner: &Arc<T>) {
        for certificate in certificates {
            if let Some(mark) = certificate.mark() {
                self.0.insert(mark, (Arc::from(&*certificate.id), Arc::clone(owner)));
            }
        }
    }

    /// Whom a certificate belongs to.
    pub fn owner(&self, certificate: &PeerCertificate) -> Owner<'_, T> {
        let whole = std::iter::once(Mark::Sha256(*certificate.sha256()));
        let uris = certificate.uris().map(|uri| Mark::Uri(uri.into()));
        let names = certificate.dns().map(|name| Mark::Dns(name.into()));
        let mut owner = Owner::Nobody;
        for (id, one) in whole.chain(uris).chain(names).filter_map(|mark| self.0.get(&mark)) {
            match owner {
                Owner::Nobody => owner = Owner::One(one, id),
                Owner::One(known, _) if Arc::ptr_eq(known, one) => {}
                _ => return Owner::Several,
            }
        }
        owner
    }
}

/// A reason and what to do.
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

/// Certificates that would make more than one owner known, as (key, what is wrong and what to write). `all` are the
/// lists by the section they stand in.
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
