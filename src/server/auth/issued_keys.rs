//! Keys issued to callers who speak a provider's own protocol, of the schemes that the drivers declare.
//!
//! Invariants: a bearer secret is shown in clear, so that its SHA-256 is enough to recognise it; what signs is kept as
//! a [`Secret`]. A key belongs to one client, whose rights, rate and day are those of its other keys.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::personal::Secret;
use crate::providers::{Credential, Presented, Scheme};
use crate::server::auth::client::{Caller, Client};
use crate::server::auth::key_config::parse_hash;

/// One key, with its secret.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Whose it is.
    pub client: String,
    /// What kind of credential it is.
    pub scheme: &'static Scheme,
    /// The public id.
    pub id: String,
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
    /// The secret that signs.
    Secret(Secret),
    /// The SHA-256 of the secret that is shown, 64 hexadecimal digits.
    Hash(String),
}

/// All issued keys, by the name of their scheme and what a request presents.
#[derive(Debug, Default)]
pub(in crate::server) struct IssuedKeys {
    by_id: HashMap<&'static str, HashMap<String, Holder>>,
    by_hash: HashMap<&'static str, HashMap<[u8; 32], Holder>>,
}

/// A key and whose it is.
#[derive(Debug)]
pub(in crate::server) struct Holder {
    /// The public id.
    pub(in crate::server) id: Arc<str>,
    /// For the codec. The secret of a bearer scheme is empty: it was found by its hash, and nothing compares it.
    pub(in crate::server) credential: Credential,
    /// What its questions are for.
    pub(in crate::server) purpose: Option<String>,
    expires: Option<Timestamp>,
    client: Arc<Client>,
}

impl IssuedKeys {
    /// `issued`, of the clients that `client` knows by name.
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
                    if let Some(hash) = parse_hash(&sha256) {
                        let credential = Credential::bearer(scheme, Secret::new(""));
                        all.by_hash.entry(scheme.name).or_default().insert(hash, holder(credential));
                    }
                }
            }
        }
        all
    }

    /// The key that a request presents, whether or not it has ended.
    pub(in crate::server) fn holder(&self, presented: Presented<'_>) -> Option<&Holder> {
        let scheme = presented.scheme();
        if !scheme.is_bearer {
            return self.by_id.get(scheme.name)?.get(presented.shown());
        }
        let presented: [u8; 32] = Sha256::digest(presented.shown()).into();
        let (hash, holder) = self.by_hash.get(scheme.name)?.get_key_value(&presented)?;
        bool::from(hash.ct_eq(&presented)).then_some(holder)
    }

    /// The client, the public id and the end of each key that has one.
    pub(in crate::server) fn expiries(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        let by_id = self.by_id.values().flat_map(HashMap::values);
        let all = by_id.chain(self.by_hash.values().flat_map(HashMap::values));
        all.filter_map(|holder| Some((&*holder.client.name, &*holder.id, holder.expires?)))
    }
}

impl Holder {
    /// Whether it has ended.
    pub(in crate::server) fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// The caller who was identified by it.
    pub(in crate::server) fn caller(&self) -> Caller {
        Caller { client: Arc::clone(&self.client), key_id: Arc::clone(&self.id), certificate_id: None }
    }
}
