//! Keys issued to callers who speak a provider's own protocol. The drivers declare the schemes.
//!
//! Invariants: a bearer secret is sent in the request, so only its SHA-256 is stored; a signing secret is stored as a
//! [`Secret`]. A key belongs to one client and shares the rights, rate and daily cap with that client's other keys.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::personal::Secret;
use crate::providers::{Credential, Presented, Scheme};
use crate::server::auth::client::{Caller, Client};
use crate::server::auth::key_config::KeyHash;

/// One issued key, with what is needed to check its requests.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The name of the client.
    pub client: String,
    pub scheme: &'static Scheme,
    pub id: String,
    pub proof: Proof,
    /// The purpose of its questions.
    pub purpose: Option<String>,
    /// Refused from this time on.
    pub expires: Option<Timestamp>,
}

/// What the requests of a key are checked with.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The signing secret.
    Secret(Secret),
    /// SHA-256 of the bearer secret, 64 hexadecimal digits.
    Hash(String),
}

/// All issued keys, by the name of the scheme and by what a request presents: an id or the hash of a secret.
#[derive(Debug, Default)]
pub(in crate::server) struct IssuedKeys {
    by_id: HashMap<&'static str, HashMap<String, Holder>>,
    by_hash: HashMap<&'static str, HashMap<KeyHash, Holder>>,
}

/// A key and its client.
#[derive(Debug)]
pub(in crate::server) struct Holder {
    pub(in crate::server) id: Arc<str>,
    /// For the codec. The secret of a bearer scheme is left empty: the key was found by its hash, and nothing compares
    /// it.
    pub(in crate::server) credential: Credential,
    /// The purpose of its questions.
    pub(in crate::server) purpose: Option<String>,
    expires: Option<Timestamp>,
    client: Arc<Client>,
}

impl IssuedKeys {
    /// Keys whose client is unknown to `client` (lookup by name) are skipped.
    pub(in crate::server) fn new(issued: Vec<Issued>, client: impl Fn(&str) -> Option<Arc<Client>>) -> Self {
        let mut all = Self::default();
        for Issued { client: name, scheme, id, proof, purpose, expires } in issued {
            let Some(client) = client(&name) else { continue };
            let holder = |credential| Holder { id: Arc::from(&*id), credential, purpose, expires, client };
            match proof {
                Proof::Secret(secret) => {
                    let credential = Credential::new(scheme, &*id, secret);
                    all.by_id.entry(scheme.name).or_default().insert(id.clone(), holder(credential));
                }
                Proof::Hash(sha256) => {
                    if let Some(hash) = KeyHash::parse(&sha256) {
                        let credential = Credential::bearer(scheme, Secret::new(""));
                        all.by_hash.entry(scheme.name).or_default().insert(hash, holder(credential));
                    }
                }
            }
        }
        all
    }

    /// The key that a request presents, even if it has expired.
    pub(in crate::server) fn holder(&self, presented: Presented<'_>) -> Option<&Holder> {
        let scheme = presented.scheme();
        if !scheme.is_bearer {
            return self.by_id.get(scheme.name)?.get(presented.shown());
        }
        self.by_hash.get(scheme.name)?.get(&KeyHash::of(presented.shown().as_bytes()))
    }

    /// Client name, public key id and expiry of each key that expires.
    pub(in crate::server) fn expiries(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        let by_id = self.by_id.values().flat_map(HashMap::values);
        let all = by_id.chain(self.by_hash.values().flat_map(HashMap::values));
        all.filter_map(|holder| Some((&*holder.client.name, &*holder.id, holder.expires?)))
    }
}

impl Holder {
    pub(in crate::server) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// The caller identified by this key.
    pub(in crate::server) fn caller(&self) -> Caller {
        Caller { client: Arc::clone(&self.client), key_id: Arc::clone(&self.id), certificate_id: None }
    }
}
