//! Keys that are issued to callers who speak a provider's own protocol: AccessKey pairs, AppCodes, AppKey pairs.
//!
//! Invariants: an AppCode is shown in clear, so that its SHA-256 is enough to know it by; what signs is here as a
//! [`Secret`]. A key belongs to one client, whose rights, rate and day are those of its other keys.
//! To add a kind: its section, a member of [`ClientConfig`], a map of `IssuedKeys`, a kind of `idgate key new`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::personal::Secret;
use crate::providers::{Claim, Credential};
use crate::server::auth::callers::{Caller, Client, ClientConfig, DEFAULT_PURPOSE};
use crate::server::auth::key_config::parse_hash;

/// One of `access_keys`. Its `secret` is read apart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKeyConfig {
    /// Public: it stands in requests and in logs.
    pub id: String,
    /// What its questions are for; without it as for a question that names no purpose.
    #[serde(default)]
    pub purpose: Option<String>,
    /// From then on it is refused (RFC 3339).
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// One of `app_keys`. Its `secret` is read apart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppKeyConfig {
    /// Public: it stands in requests and in logs.
    pub key: String,
    /// What its questions are for; without it as for a question that names no purpose.
    #[serde(default)]
    pub purpose: Option<String>,
    /// From then on it is refused (RFC 3339).
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// One of `app_codes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppCodeConfig {
    /// Public: it stands in logs.
    pub id: String,
    /// SHA-256 of the AppCode, 64 hexadecimal digits.
    pub sha256: String,
    /// What its questions are for; without it as for a question that names no purpose.
    #[serde(default)]
    pub purpose: Option<String>,
    /// From then on it is refused (RFC 3339).
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// One key, with its secret.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Whose it is.
    pub client: String,
    /// What its requests are checked with.
    pub proof: Proof,
    /// What its questions are for.
    pub purpose: Option<String>,
    /// Its end.
    pub expires: Option<Timestamp>,
}

/// What the requests of a key are checked with.
#[derive(Debug, Clone)]
pub enum Proof {
    /// An AccessKey pair.
    AccessKey {
        /// Its id.
        id: String,
        /// Signs.
        secret: Secret,
    },
    /// An AppKey pair.
    AppKey {
        /// The AppKey.
        key: String,
        /// Signs.
        secret: Secret,
    },
    /// An AppCode.
    AppCode {
        /// The id that stands for it in logs.
        id: String,
        /// Its SHA-256, 64 hexadecimal digits.
        sha256: String,
    },
}

/// All keys of that kind, by what a request claims.
#[derive(Debug, Default)]
pub(in crate::server) struct IssuedKeys {
    access_keys: HashMap<String, Holder>,
    app_keys: HashMap<String, Holder>,
    app_codes: HashMap<[u8; 32], Holder>,
}

/// A key and whose it is.
#[derive(Debug)]
pub(in crate::server) struct Holder {
    /// The public id.
    pub(in crate::server) id: Arc<str>,
    /// For the codec. That of an AppCode is empty: it was found by its hash, and nothing compares it.
    pub(in crate::server) credential: Credential,
    /// What its questions are for.
    pub(in crate::server) purpose: Option<String>,
    expires: Option<Timestamp>,
    client: Arc<Client>,
}

impl ClientConfig {
    /// Whether it has any key of that kind.
    pub fn has_issued(&self) -> bool {
        !(self.access_keys.is_empty() && self.app_codes.is_empty() && self.app_keys.is_empty())
    }

    /// All mistakes of its issued keys, as (key, what is wrong and what to write).
    pub(in crate::server) fn validate_issued(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut check = |at: String, member: &str, id: &str, purpose: Option<&String>| {
            let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
            if id.is_empty() || id.len() > 64 || !id.bytes().all(is_plain) {
                let text = "must be 1 to 64 visible ASCII characters without a comma; it stands in logs";
                mistakes.push((format!("{at}.{member}"), text.to_owned()));
            }
            if purpose.is_some_and(|purpose| !self.purposes.contains(purpose)) {
                let text = "is not one of this client's purposes; correct it, or add it to `purposes`".to_owned();
                mistakes.push((format!("{at}.purpose"), text));
            }
            let can_be_left_out = self.purposes.len() == 1 || self.purposes.iter().any(|own| own == DEFAULT_PURPOSE);
            if purpose.is_none() && !can_be_left_out {
                let text = "is missing, and its callers cannot name one of this client's several purposes, so that they \
                            could never ask; write purpose = \"…\"";
                mistakes.push((format!("{at}.purpose"), text.to_owned()));
            }
        };
        for (index, key) in self.access_keys.iter().enumerate() {
            check(format!("access_keys[{index}]"), "id", &key.id, key.purpose.as_ref());
        }
        for (index, key) in self.app_keys.iter().enumerate() {
            check(format!("app_keys[{index}]"), "key", &key.key, key.purpose.as_ref());
        }
        for (index, code) in self.app_codes.iter().enumerate() {
            check(format!("app_codes[{index}]"), "id", &code.id, code.purpose.as_ref());
        }
        let is_wrong = |code: &AppCodeConfig| parse_hash(&code.sha256).is_none();
        for (index, _) in self.app_codes.iter().enumerate().filter(|(_, code)| is_wrong(code)) {
            let text = "is not a SHA-256 in 64 hexadecimal digits; `idgate key new CLIENT --kind app-code` prints one";
            mistakes.push((format!("app_codes[{index}].sha256"), text.to_owned()));
        }
        mistakes
    }
}

impl IssuedKeys {
    /// `issued`, of the clients that `client` knows by name.
    pub(in crate::server) fn new(issued: Vec<Issued>, client: impl Fn(&str) -> Option<Arc<Client>>) -> Self {
        let mut all = Self::default();
        for Issued { client: name, proof, purpose, expires } in issued {
            let Some(client) = client(&name) else { continue };
            let holder = |id: &str, credential| Holder { id: Arc::from(id), credential, purpose, expires, client };
            match proof {
                Proof::AccessKey { id, secret } => {
                    let credential = Credential::AccessKey { id: id.clone(), secret, security_token: None };
                    all.access_keys.insert(id.clone(), holder(&id, credential));
                }
                Proof::AppKey { key, secret } => {
                    all.app_keys.insert(key.clone(), holder(&key, Credential::AppKey { key: key.clone(), secret }));
                }
                Proof::AppCode { id, sha256 } => {
                    if let Some(hash) = parse_hash(&sha256) {
                        all.app_codes.insert(hash, holder(&id, Credential::AppCode(Secret::new(""))));
                    }
                }
            }
        }
        all
    }

    /// The key that a request claims to be from, whether or not it has ended.
    pub(in crate::server) fn holder(&self, claim: Claim<'_>) -> Option<&Holder> {
        match claim {
            Claim::AccessKeyId(id) => self.access_keys.get(id),
            Claim::AppKey(key) => self.app_keys.get(key),
            Claim::AppCode(code) => {
                let presented: [u8; 32] = Sha256::digest(code).into();
                let (hash, holder) = self.app_codes.get_key_value(&presented)?;
                bool::from(hash.ct_eq(&presented)).then_some(holder)
            }
        }
    }

    /// The client, the public id and the end of each key that has one.
    pub(in crate::server) fn expiries(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        let all = self.access_keys.values().chain(self.app_keys.values()).chain(self.app_codes.values());
        all.filter_map(|holder| Some((&*holder.client.name, &*holder.id, holder.expires?)))
    }
}

impl Holder {
    /// Whether it has ended.
    pub(in crate::server) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Whoever asks with it.
    pub(in crate::server) fn caller(&self) -> Caller {
        Caller { client: Arc::clone(&self.client), key_id: Arc::clone(&self.id), certificate_id: None }
    }
}
