//! Operators: users of the admin listener, identified by a key or a certificate.
//!
//! Invariant: if operators are configured, every admin route requires one, except those that `is_for_everybody`
//! names. If none is configured, the admin listener must be on loopback. Each request carries its [`Operator`] as an
//! extension, so that actions are logged with a name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, header};
use jiff::Timestamp;
use serde::Deserialize;

use super::certificates::{CertificateConfig, Certificates, Owner, refusal};
use super::key_config::{KeyConfig, KeyHash, bearer, validate_keys};
use super::roles::{Role, Roles};
use crate::server::http::problem::Refused;
use crate::server::listener::tls::PeerCertificate;

/// Routes that require no operator: orchestrators and load balancers have no key, and these answers reveal nothing.
pub const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Whether anybody may read this: what [`OPEN`] has, and the pages, which are the same in every installation.
pub(in crate::server) fn is_for_everybody(method: &Method, path: &str) -> bool {
    OPEN.contains(&path) || (matches!(*method, Method::GET | Method::HEAD) && is_page(path))
}

/// Whether this is a page for browsers, or part of one.
pub(in crate::server) fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/openapi.json") || path.starts_with("/docs/")
}

/// Whether this belongs to the console.
pub(in crate::server) fn is_console(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Section `[operators.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// Two keys at a time allow a rotation.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    #[serde(default = "Roles::before_roles")]
    pub roles: Vec<Role>,
}

#[derive(Debug, Default)]
pub struct Operators {
    keys: HashMap<KeyHash, Key>,
    certificates: Certificates<Operator>,
    local: Option<Arc<Operator>>,
}

#[derive(Debug)]
struct Key {
    expires: Option<Timestamp>,
    operator: Arc<Operator>,
}

/// The operator of a request, stored as an extension of each request on the admin listener.
#[derive(Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name in the configuration. `local` if no operator is configured, in which case everyone who can reach the
    /// listener is admitted.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Roles,
}

impl OperatorConfig {
    /// All errors, as (key, problem and remedy).
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut mistakes = validate_keys(&self.keys, "idgate key new --operator NAME");
        mistakes.extend(CertificateConfig::validate(&self.certificates));
        if self.keys.is_empty() && self.certificates.is_empty() {
            let text = "is empty, and so is `certificates`; `idgate key new --operator NAME` prints a line for it";
            mistakes.push(("keys".to_owned(), text.to_owned()));
        }
        if self.roles.is_empty() {
            let text = "is empty, so this operator could do nothing; write for example [\"viewer\"], or leave it out";
            mistakes.push(("roles".to_owned(), text.to_owned()));
        }
        mistakes
    }
}

impl Operators {
    pub fn new(configured: &BTreeMap<String, OperatorConfig>) -> Self {
        let mut all = Self::default();
        for (name, config) in configured {
            let operator = Arc::new(Operator { name: Arc::from(&**name), roles: Roles::new(&config.roles) });
            for key in &config.keys {
                if let Some(hash) = KeyHash::parse(&key.sha256) {
                    all.keys.insert(hash, Key { expires: key.expires, operator: Arc::clone(&operator) });
                }
            }
            all.certificates.add(&config.certificates, &operator);
        }
        if configured.is_empty() {
            all.local = Some(Arc::new(Operator { name: Arc::from("local"), roles: Roles::all() }));
        }
        all
    }

    /// Whether no operator is configured.
    pub(in crate::server) fn is_open_to_all(&self) -> bool {
        self.local.is_some()
    }

    /// Identifies the operator from the headers of a request and the extensions of its connection.
    ///
    /// # Errors
    /// `unauthenticated` without a valid key or a configured certificate.
    pub fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        now: Timestamp,
    ) -> Result<Arc<Operator>, Refused> {
        if let Some(local) = &self.local {
            return Ok(Arc::clone(local));
        }
        if let Some(key) = headers.get(header::AUTHORIZATION).and_then(bearer) {
            return self.with_key(&KeyHash::of(key), now).ok_or_else(|| refusal(BAD_KEY));
        }
        self.with_certificate(extensions)
    }

    /// The operator that needs no key: `local`, if none is configured.
    pub(in crate::server) fn local(&self) -> Option<&Arc<Operator>> {
        self.local.as_ref()
    }

    /// The operator of a key that has not expired. Keys are looked up by hash, so that timing does not reveal how much of
    /// one is right.
    pub(in crate::server) fn with_key(&self, hash: &KeyHash, now: Timestamp) -> Option<Arc<Operator>> {
        let known = self.keys.get(hash).filter(|key| key.expires.is_none_or(|end| now < end));
        known.map(|key| Arc::clone(&key.operator))
    }

    /// The operator of the certificate of a connection.
    ///
    /// # Errors
    /// `unauthenticated` without the certificate of one operator.
    pub(in crate::server) fn with_certificate(&self, extensions: &Extensions) -> Result<Arc<Operator>, Refused> {
        match extensions.get::<PeerCertificate>().map(|certificate| self.certificates.owner(certificate)) {
            Some(Owner::One(operator, _)) => Ok(Arc::clone(operator)),
            Some(Owner::Unknown | Owner::Several) => Err(refusal(UNKNOWN)),
            None => Err(refusal(MISSING)),
        }
    }
}

const MISSING: (&str, &str) = (
    "operator_missing",
    "send `Authorization: Bearer <key>` with the key of an operator, or connect with an operator's certificate",
);
const BAD_KEY: (&str, &str) = (
    "operator_unknown",
    "send the key of an operator of a [operators.NAME] section that has not expired; a client's key opens nothing here",
);
const UNKNOWN: (&str, &str) = (
    "certificate_unknown",
    "the certificate is valid, but is not that of one operator; have it added under `certificates`, or send a key",
);
