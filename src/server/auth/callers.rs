//! Identifies the configured client that sent a request, by its key or by the certificate of its connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, header, request};
use jiff::Timestamp;

use super::browsers::{self, Hosts};
use super::certificates::{ANOTHER, Certificates, Identity, MISSING, NO_KEY, Owner, SEVERAL, UNKNOWN, refusal};
use super::client::{Caller, Client};
use super::client_config::ClientConfig;
use super::issued_keys::{Issued, IssuedKeys};
use super::key_config::{KeyHash, bearer};
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::listener::tls::PeerCertificate;
use crate::storage::shared::Shared;

/// The public id of a key, and its end if it has one.
pub(in crate::server) type KeyEnd<'a> = (&'a str, Option<Timestamp>);

#[derive(Debug)]
pub struct Clients {
    by_hash: HashMap<KeyHash, Key>,
    by_name: HashMap<Arc<str>, Arc<Client>>,
    certificates: Certificates<Client>,
    issued: IssuedKeys,
    identity: Identity,
    /// The client of every request if none is configured (loopback only).
    anonymous: Option<Arc<Client>>,
    hosts: Hosts,
}

#[derive(Debug)]
struct Key {
    id: Arc<str>,
    expires: Option<Timestamp>,
    client: Arc<Client>,
}

impl Clients {
    /// The configured clients. If there are none, every request is from `anonymous`, which has `all_purposes`.
    ///
    /// Clients keep the rate and daily counts that they have in `previous`, so a reload does not reset their limits.
    /// A client whose rate settings changed gets a fresh rate limiter. Keys whose hash cannot be parsed are skipped;
    /// `ClientConfig::validate` has already reported them.
    pub fn new(
        configured: &BTreeMap<String, ClientConfig>,
        all_purposes: &[String],
        identity: Identity,
        previous: Option<&Clients>,
    ) -> Self {
        let (mut by_hash, mut by_name) = (HashMap::new(), HashMap::new());
        let mut certificates = Certificates::default();
        for (name, config) in configured {
            let before = previous.and_then(|previous| previous.by_name.get(&**name));
            let client = Arc::new(Client::of(name, config, before.map(|before| &**before)));
            by_name.insert(Arc::clone(&client.name), Arc::clone(&client));
            certificates.add(&config.certificates, &client);
            for key in &config.keys {
                if let Some(hash) = KeyHash::parse(&key.sha256) {
                    let client = Arc::clone(&client);
                    by_hash.insert(hash, Key { id: Arc::from(&*key.id), expires: key.expires, client });
                }
            }
        }
        let anonymous = || Arc::new(Client::anonymous(all_purposes));
        let issued = IssuedKeys::default();
        Self {
            anonymous: configured.is_empty().then(anonymous),
            by_hash,
            by_name,
            certificates,
            issued,
            identity,
            hosts: Hosts::default(),
        }
    }

    /// Adds the names under which this process may be asked without a key.
    #[must_use]
    pub fn with_hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
    }

    /// Applies the limits of every client to all replicas together.
    #[must_use]
    pub fn sharing(self, shared: &Shared) -> Self {
        self.by_name.values().for_each(|client| client.share(shared));
        self
    }

    /// Adds the keys issued for the providers' protocols.
    #[must_use]
    pub fn with_issued(self, issued: Vec<Issued>) -> Self {
        let issued = IssuedKeys::new(issued, |name| self.by_name.get(name).cloned());
        Self { issued, ..self }
    }

    pub(in crate::server) fn issued(&self) -> &IssuedKeys {
        &self.issued
    }

    /// Client name, public key id and expiry of each key that expires.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        let keys = self.by_hash.values().filter_map(|key| Some((&*key.client.name, &*key.id, key.expires?)));
        keys.chain(self.issued.expiries())
    }

    /// The client of this name; without a name, the one of every request if none is configured.
    pub(in crate::server) fn named(&self, name: Option<&str>) -> Option<Arc<Client>> {
        match name {
            Some(name) => self.by_name.get(name).cloned(),
            None => self.anonymous.clone(),
        }
    }

    /// All configured clients by name, each with the public ids of its keys and their ends.
    pub(in crate::server) fn described(&self) -> Vec<(&Arc<Client>, Vec<KeyEnd<'_>>)> {
        let mut all: Vec<_> = self.by_name.values().map(|client| (client, self.keys_of(client))).collect();
        all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        all
    }

    fn keys_of(&self, client: &Client) -> Vec<KeyEnd<'_>> {
        let own = self.by_hash.values().filter(|key| key.client.name == client.name).map(|key| (&*key.id, key.expires));
        let issued = self.issued.expiries().filter(|(name, ..)| **name == *client.name);
        let mut keys: Vec<_> = own.chain(issued.map(|(_, id, end)| (id, Some(end)))).collect();
        keys.sort_unstable();
        keys
    }

    /// Identifies the client by the key in `headers`.
    ///
    /// # Errors
    /// `unauthenticated` without a valid key.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refused> {
        if let Some(client) = &self.anonymous {
            return Ok(Caller { client: Arc::clone(client), key_id: Arc::default(), certificate_id: None });
        }
        let presented = headers.get(header::AUTHORIZATION).and_then(bearer);
        // A request without a key takes the same path, so that the timing does not differ.
        let known = self.by_hash.get(&KeyHash::of(presented.unwrap_or_default()));
        match known.filter(|key| key.expires.is_none_or(|end| now < end)) {
            Some(key) => {
                Ok(Caller { client: Arc::clone(&key.client), key_id: Arc::clone(&key.id), certificate_id: None })
            }
            None => Err(Box::new(Problem::new(Code::Unauthenticated))),
        }
    }

    /// Identifies the client from the head of a request, which has the extensions of its connection.
    ///
    /// # Errors
    /// `unauthenticated` without the credentials that [`Identity`] requires; the problem names what is missing.
    /// `forbidden` where none are required, and a browser asks for a foreign page.
    pub fn identify(&self, head: &request::Parts, now: Timestamp) -> Result<Caller, Refused> {
        let request::Parts { uri, headers, extensions, .. } = head;
        let certificate = extensions.get::<PeerCertificate>();
        let sends_key = || headers.get(header::AUTHORIZATION).and_then(bearer).is_some();
        match (self.identity, certificate) {
            (_, _) if self.anonymous.is_some() => {
                self.hosts.check(uri, headers)?;
                // A question has a body in JSON, for which a browser asks first, and is refused.
                browsers::check_origin(&Method::GET, uri, headers, false)?;
                self.caller(headers, now)
            }
            (Identity::Key, _) | (Identity::Any, None) => self.caller(headers, now),
            (Identity::Any, Some(_)) if sends_key() => self.confirm(self.caller(headers, now)?, extensions),
            (Identity::Any, Some(certificate)) | (Identity::Certificate, Some(certificate)) => {
                match self.certificates.owner(certificate) {
                    Owner::One(client, id) => Ok(Caller {
                        client: Arc::clone(client),
                        key_id: Arc::default(),
                        certificate_id: Some(Arc::clone(id)),
                    }),
                    Owner::Unknown => Err(refusal(UNKNOWN)),
                    Owner::Several => Err(refusal(SEVERAL)),
                }
            }
            (Identity::Both, Some(_)) => {
                if !sends_key() {
                    return Err(refusal(NO_KEY));
                }
                self.confirm(self.caller(headers, now)?, extensions)
            }
            (Identity::Certificate | Identity::Both, None) => Err(refusal(MISSING)),
        }
    }

    /// Checks the connection's certificate for a `caller` already identified by a key.
    ///
    /// # Errors
    /// `unauthenticated` if the certificate is another client's, or is missing although [`Identity`] requires one.
    pub(in crate::server) fn confirm(&self, caller: Caller, extensions: &Extensions) -> Result<Caller, Refused> {
        let owner = extensions.get::<PeerCertificate>().map(|certificate| self.certificates.owner(certificate));
        match (self.identity, owner) {
            (Identity::Key, _) | (Identity::Any, None | Some(Owner::Unknown)) => Ok(caller),
            (_, Some(owner)) => with_certificate(caller, owner),
            (Identity::Certificate | Identity::Both, None) => Err(refusal(MISSING)),
        }
    }
}

/// Adds the certificate's id to `caller`, if it belongs to the same client.
fn with_certificate(caller: Caller, owner: Owner<'_, Client>) -> Result<Caller, Refused> {
    match owner {
        Owner::One(client, id) if Arc::ptr_eq(client, &caller.client) => {
            Ok(Caller { certificate_id: Some(Arc::clone(id)), ..caller })
        }
        Owner::One(..) => Err(refusal(ANOTHER)),
        Owner::Several => Err(refusal(SEVERAL)),
        Owner::Unknown => Err(refusal(UNKNOWN)),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use sha2::{Digest as _, Sha256};

    use super::super::key_config::{KeyConfig, work};
    use super::*;
    use crate::domain::clock::Clock;

    fn config(expires: Option<&str>) -> BTreeMap<String, ClientConfig> {
        let hash = hex::encode(Sha256::digest(b"k-1"));
        let expires = expires.map(|text| text.parse().unwrap());
        let config = ClientConfig {
            keys: vec![KeyConfig { id: "w1".to_owned(), sha256: hash, expires }],
            certificates: Vec::new(),
            issued: Vec::new(),
            purposes: vec!["withdrawal".to_owned()],
            rate_limit: NonZeroU32::new(2).unwrap(),
            burst: None,
            weight: NonZeroU32::MIN,
            daily_cap: NonZeroU32::new(3),
            no_cache: true,
            longest_max_age: None,
            include_person: true,
            budget: None,
        };
        BTreeMap::from([("payout".to_owned(), config)])
    }

    fn clients(expires: Option<&str>) -> Clients {
        Clients::new(&config(expires), &[], Identity::Any, None)
    }

    fn with(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn only_the_whole_key_opens() {
        let (clients, now) = (clients(None), Timestamp::UNIX_EPOCH);
        assert_eq!(&*clients.caller(&with("Bearer k-1"), now).unwrap().key_id, "w1");
        assert!(clients.caller(&with("bearer  k-1 "), now).is_ok());
        for wrong in ["Bearer k-", "Bearer k-12", "Bearer ", "Basic k-1", "k-1", "Bearer"] {
            assert!(clients.caller(&with(wrong), now).is_err(), "{wrong}");
        }
        assert!(clients.caller(&HeaderMap::new(), now).is_err());
    }

    #[test]
    fn a_key_ends_at_its_expiry() {
        let clients = clients(Some("2027-01-01T00:00:00Z"));
        let at = |text: &str| clients.caller(&with("Bearer k-1"), text.parse().unwrap()).is_ok();
        assert!(at("2026-12-31T23:59:59Z"));
        assert!(!at("2027-01-01T00:00:00Z"));
    }

    /// A key that is wrong in its last or first character, one that has expired and one that nobody has: each is hashed
    /// whole, once, and the number of clients and how much of a key is right change nothing.
    #[test]
    fn a_wrong_key_costs_the_work_of_an_unknown_one_however_many_clients_there_are() {
        let mut configured = config(None);
        let key = |text: &str, expires: Option<&str>| KeyConfig {
            id: "k".to_owned(),
            sha256: hex::encode(Sha256::digest(text)),
            expires: expires.map(|text| text.parse().unwrap()),
        };
        for n in 0..500 {
            let mut other = configured["payout"].clone();
            other.keys =
                vec![key(&format!("k-other-{n}"), None), key(&format!("k-expired-{n}"), Some("2020-01-01T00:00:00Z"))];
            configured.insert(format!("other-{n}"), other);
        }
        let clients = Clients::new(&configured, &[], Identity::Any, None);
        let now = "2026-11-28T00:00:00Z".parse().unwrap();
        assert!(clients.caller(&with("Bearer k-other-7"), now).is_ok());
        let mut compared = 0;
        for n in 0..100 {
            for presented in
                [format!("k-other-{n}x"), format!("x-other-{n}0"), format!("k-expired-{n}"), format!("{n}-nobody's")]
            {
                work::take();
                let refused = clients.caller(&with(&format!("Bearer {presented}")), now).unwrap_err();
                let work = work::take();
                assert_eq!(
                    (refused.code(), work.hashed),
                    (Code::Unauthenticated, vec![presented.len()]),
                    "{presented}"
                );
                compared += work.compared - usize::from(presented.starts_with("k-expired"));
            }
        }
        // Only hashes that a table takes for each other by a part of theirs: a few in hundred, and none of a thousand keys
        // one by one.
        assert!(compared < 400, "{compared} comparisons for 400 keys");
        work::take();
        assert!(clients.caller(&HeaderMap::new(), now).is_err());
        assert_eq!(work::take().hashed, [0], "no key takes the same path");
    }

    #[test]
    fn a_reload_gives_nobody_more() {
        let asked = |clients: &Clients| {
            let client = clients.caller(&with("Bearer k-1"), Timestamp::UNIX_EPOCH).unwrap().client;
            let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
            (client.admit().is_ok(), client.count_question(&clock).is_ok())
        };
        let first = clients(None);
        assert_eq!([asked(&first), asked(&first), asked(&first)], [(true, true), (true, true), (false, true)]);
        let same = Clients::new(&config(None), &[], Identity::Any, Some(&first));
        assert_eq!(asked(&same), (false, false));
        let mut faster = config(None);
        faster.get_mut("payout").unwrap().rate_limit = NonZeroU32::new(10).unwrap();
        assert_eq!(
            asked(&Clients::new(&faster, &[], Identity::Any, Some(&same))),
            (true, false),
            "another rate begins anew"
        );
        assert_eq!(asked(&clients(None)), (true, true), "another process knows nothing of it");
    }

    #[test]
    fn a_client_has_its_own_purposes_and_rate() {
        let client = clients(None).caller(&with("Bearer k-1"), Timestamp::UNIX_EPOCH).unwrap().client;
        assert_eq!(&*client.purpose(None).unwrap(), "withdrawal");
        assert!(client.purpose(Some("marketing")).is_err());
        let mut headers = HeaderMap::new();
        client.admit().unwrap().unwrap().write(&mut headers);
        assert_eq!(headers["ratelimit"], "\"client\";r=1;t=1");
        assert_eq!(headers["ratelimit-policy"], "\"client\";q=2;w=1");
        assert!(client.admit().is_ok());
        assert!(client.admit().is_err());
    }
}
