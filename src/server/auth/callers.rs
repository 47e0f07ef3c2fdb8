//! Who asks: the clients and their purposes. (What they show is in `key` and `certificate`, what they may demand in
//! `rights`, how fast in `rate`.)

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::clock::Clock;
use crate::server::auth::certificates::{CertificateConfig, Certificates, Identity};
use crate::server::auth::issued_keys::{Issued, IssuedConfig, IssuedKeys};
use crate::server::auth::key_config::{KeyConfig, bearer, parse_hash, validate_keys};
use crate::server::auth::rate::{Allowance, Rate};
use crate::server::auth::rights::{Day, Rights};
use crate::server::http::{code::Code, problem::Problem};
use crate::storage::LONGEST_LIFETIME;
use crate::verify::billing::Budget;

/// The purpose of a question that names none.
pub const DEFAULT_PURPOSE: &str = "default";

/// Whoever asks where no client is configured.
pub const ANONYMOUS: &str = "anonymous";

/// Section `[clients.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Its keys; two at a time allow rotation.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// Its certificates.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// Keys issued to it for providers' protocols, read apart: each scheme has a list of its own in the section.
    #[serde(skip)]
    pub issued: Vec<IssuedConfig>,
    /// What it may ask for.
    #[serde(default = "default_purposes")]
    pub purposes: Vec<String>,
    /// Requests per second, on average.
    #[serde(default = "default_rate")]
    pub rate_limit: NonZeroU32,
    /// Requests at once, after a pause.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Questions per day in China; no limit if not set.
    #[serde(default)]
    pub daily_cap: Option<NonZeroU32>,
    /// Whether it may demand an answer that is fresher than what is remembered.
    #[serde(default = "yes")]
    pub no_cache: bool,
    /// The age of the oldest answer that it is ever given; no limit if not set.
    #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub longest_max_age: Option<Duration>,
    /// Whether it may have what the number tells.
    #[serde(default = "yes")]
    pub include_person: bool,
    /// What its calls may cost; no limit if not set.
    #[serde(default)]
    pub budget: Option<Budget>,
}

/// Everyone who may ask.
#[derive(Debug)]
pub struct Clients {
    by_hash: HashMap<[u8; 32], Key>,
    by_name: HashMap<Arc<str>, Arc<Client>>,
    certificates: Certificates<Client>,
    issued: IssuedKeys,
    identity: Identity,
    /// Who asks when no client is configured (loopback only).
    anonymous: Option<Arc<Client>>,
}

/// A client at work.
pub struct Client {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it may demand.
    pub rights: Rights,
    purposes: Vec<Arc<str>>,
    /// None for `anonymous`, who has no rate.
    rate: Option<Arc<Rate>>,
    day: Day,
}

#[derive(Debug)]
struct Key {
    id: Arc<str>,
    hash: [u8; 32],
    expires: Option<Timestamp>,
    client: Arc<Client>,
}

/// The caller of one request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client.
    pub client: Arc<Client>,
    /// The public id of the key it used; empty if none was needed.
    pub key_id: Arc<str>,
    /// The public id of the certificate it used, if it was known by one.
    pub certificate_id: Option<Arc<str>>,
}

impl Caller {
    /// The public id of what it has shown: its key, or the certificate of its connection.
    pub fn shown(&self) -> Arc<str> {
        match &self.certificate_id {
            Some(certificate) if self.key_id.is_empty() => Arc::clone(certificate),
            _ => Arc::clone(&self.key_id),
        }
    }
}

fn default_purposes() -> Vec<String> {
    vec![DEFAULT_PURPOSE.to_owned()]
}

const fn yes() -> bool {
    true
}

const fn default_rate() -> NonZeroU32 {
    match NonZeroU32::new(1000) {
        Some(rate) => rate,
        None => NonZeroU32::MIN,
    }
}

impl ClientConfig {
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut mistakes = validate_keys(&self.keys);
        mistakes.extend(CertificateConfig::validate(&self.certificates));
        mistakes.extend(self.validate_issued());
        if self.keys.is_empty() && self.certificates.is_empty() && !self.has_issued() {
            let text = "is empty, and so is `certificates`; `idgate key new CLIENT` prints a line for it";
            mistakes.push(("keys".to_owned(), text.to_owned()));
        }
        if self.purposes.is_empty() {
            mistakes.push(("purposes".to_owned(), "is empty; write [\"default\"] or leave it out".to_owned()));
        }
        if self.longest_max_age.is_some_and(|age| age > LONGEST_LIFETIME) {
            let text = "is longer than a day, and nothing is remembered for longer; leave it out".to_owned();
            mistakes.push(("longest_max_age".to_owned(), text));
        }
        mistakes
    }
}

impl Clients {
    /// The clients of the configuration and what they have to show; with none, everyone is `anonymous` with the purposes
    /// given.
    ///
    /// What a client has used of its rate and of its day goes on from `previous`, so that a reload gives nobody more.
    /// Keys whose hash cannot be read are left out; `ClientConfig::validate` has reported them.
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
                if let Some(hash) = parse_hash(&key.sha256) {
                    let client = Arc::clone(&client);
                    by_hash.insert(hash, Key { id: Arc::from(&*key.id), hash, expires: key.expires, client });
                }
            }
        }
        let anonymous = || Arc::new(Client::anonymous(all_purposes));
        let issued = IssuedKeys::default();
        Self { anonymous: configured.is_empty().then(anonymous), by_hash, by_name, certificates, issued, identity }
    }

    /// The same with the keys that are issued to callers of the providers' protocols.
    #[must_use]
    pub fn with_issued(self, issued: Vec<Issued>) -> Self {
        let issued = IssuedKeys::new(issued, |name| self.by_name.get(name).cloned());
        Self { issued, ..self }
    }

    /// The keys of callers of the providers' protocols.
    pub(in crate::server) fn issued(&self) -> &IssuedKeys {
        &self.issued
    }

    /// The client, the public id and the end of each key that has one.
    pub fn expiries(&self) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        let keys = self.by_hash.values().filter_map(|key| Some((&*key.client.name, &*key.id, key.expires?)));
        keys.chain(self.issued.expiries())
    }

    /// What a request has to show.
    pub(in crate::server) fn identity(&self) -> Identity {
        self.identity
    }

    /// The certificates of all clients.
    pub(in crate::server) fn certificates(&self) -> &Certificates<Client> {
        &self.certificates
    }

    /// Whether anybody may ask, since no client is configured.
    pub(in crate::server) fn are_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// Whose key is in these headers.
    ///
    /// # Errors
    /// `unauthenticated` without a valid key.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Box<Problem>> {
        if let Some(client) = &self.anonymous {
            return Ok(Caller { client: Arc::clone(client), key_id: Arc::default(), certificate_id: None });
        }
        let presented = headers.get(header::AUTHORIZATION).and_then(bearer);
        // A request without a key takes the same path: the hash of nothing is nobody's.
        let hash: [u8; 32] = Sha256::digest(presented.unwrap_or_default()).into();
        let known = self.by_hash.get(&hash).filter(|key| key.hash.ct_eq(&hash).into());
        match known.filter(|key| key.expires.is_none_or(|end| now < end)) {
            Some(key) => {
                Ok(Caller { client: Arc::clone(&key.client), key_id: Arc::clone(&key.id), certificate_id: None })
            }
            None => Err(Box::new(Problem::new(Code::Unauthenticated))),
        }
    }
}

impl Client {
    fn of(name: &str, config: &ClientConfig, before: Option<&Self>) -> Self {
        let (per_second, burst) = (config.rate_limit, config.burst.unwrap_or(config.rate_limit));
        let rate = before.and_then(|before| before.rate.clone());
        let rate = rate.filter(|rate| rate.is(per_second, burst));
        Self {
            name: Arc::from(name),
            rights: Rights::of(config),
            purposes: shared(&config.purposes),
            rate: Some(rate.unwrap_or_else(|| Arc::new(Rate::new(per_second, burst)))),
            day: Day::new(config.daily_cap, before.map(|before| &before.day)),
        }
    }

    fn anonymous(purposes: &[String]) -> Self {
        let (name, purposes) = (Arc::from(ANONYMOUS), shared(purposes));
        Self { name, rights: Rights::ALL, purposes, rate: None, day: Day::new(None, None) }
    }

    /// The purpose that a question of this client has.
    ///
    /// # Errors
    /// `forbidden` if the client may not use it. One that names none gets `default`, or the client's only purpose.
    pub fn purpose(&self, named: Option<&str>) -> Result<Arc<str>, Box<Problem>> {
        let only = || if let [only] = &*self.purposes { Some(Arc::clone(only)) } else { None };
        let find = |wanted: &str| self.purposes.iter().find(|purpose| &***purpose == wanted).cloned();
        let found = match named {
            Some(named) => find(named),
            None => find(DEFAULT_PURPOSE).or_else(only),
        };
        found.ok_or_else(|| {
            let detail = "is not one of this client's purposes";
            Box::new(Problem::new(Code::Forbidden).with_error("/purpose", "not_allowed", detail))
        })
    }

    /// Counts a request against the client's rate, and says what is left of it.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&self) -> Result<Option<Allowance>, (Allowance, Duration)> {
        self.rate.as_ref().map(|rate| rate.admit()).transpose()
    }

    /// Counts a question that our own rules have let pass, against the client's day.
    ///
    /// # Errors
    /// `rate_limited` until tomorrow, if the day is used up.
    pub fn count_question(&self, clock: &Clock) -> Result<(), Box<Problem>> {
        self.day.count(clock)
    }
}

fn shared(words: &[String]) -> Vec<Arc<str>> {
    words.iter().map(|word| Arc::from(&**word)).collect()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(client.admit().unwrap().unwrap().state(), "\"client\";r=1;t=1");
        assert_eq!(client.admit().unwrap().unwrap().policy(), "\"client\";q=2;w=1");
        assert!(client.admit().is_err());
    }
}
