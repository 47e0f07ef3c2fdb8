//! Callers of the providers' protocols: one for each driver and each way to sign that its samples show. What each
//! driver answers comes from `tests/fixtures/<driver>/dialect.json`, so that a new driver is tested by its fixture
//! alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Uri};
use idgate::domain::outcome::Fault;
use idgate::domain::personal::Secret;
use idgate::domain::verdict::Finding;
use idgate::providers::dialect::Dialect;
use idgate::providers::{
    self, Configured, Credential, DRIVERS, Driver, Endpoint, Protocol, Sample, Scheme, Service, Stamp, driver,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Answer, SECRET, send, subject};
use crate::support::{Pair, TestGateway};

/// What the documents of a driver say about its answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Where an answer has its word: (what goes before it, JSON pointer), the first that is there.
    pub word: Vec<(String, String)>,
    /// Status and word of each case.
    pub says: BTreeMap<String, (u16, String)>,
    /// Words about the person, which only an authenticated caller gets.
    pub judges: Vec<String>,
    /// Whether it tells how long to stay away.
    pub tells_pause: bool,
    /// What each way to sign covers; the first whose condition fits the sample.
    pub covers: Vec<Covers>,
    /// The outcomes as which an idgate in front may read each of our codes.
    pub reads_as: BTreeMap<String, Vec<String>>,
}

/// What a signature covers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covers {
    /// `key=value` of the sample; empty for any other.
    #[serde(rename = "if")]
    condition: String,
    /// The header that lists the signed headers; empty if there is none.
    pub list: String,
    /// What separates the names in it.
    pub separator: String,
    /// Headers that are covered without being listed.
    pub headers: Vec<String>,
    /// Whether the query is covered as it stands (`raw`) or by its pairs (`decoded`).
    pub query: String,
    /// Whether the pairs of a form body are covered.
    pub form: bool,
    /// Whether the body is covered as it stands.
    pub body: bool,
    /// Whether headers are compared in lower case.
    #[serde(default)]
    pub folds_case: bool,
}

impl Answers {
    pub fn of(driver: &str) -> Self {
        let path = format!("{}/tests/fixtures/{driver}/dialect.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// The drivers that have a server side.
pub fn served() -> impl Iterator<Item = (&'static Driver, &'static Dialect)> {
    DRIVERS.iter().filter_map(|driver| Some((*driver, driver.dialect.as_ref()?)))
}

/// The public id that tests give to a key of that scheme; a bearer secret has none.
pub fn id_of(scheme: &Scheme) -> String {
    let letters: String = scheme.name.chars().filter(char::is_ascii_alphanumeric).collect();
    if scheme.is_bearer { String::new() } else { format!("IDGTEST{}0001", letters.to_uppercase()) }
}

/// The secret that tests give to a key of that scheme.
pub fn secret_of(scheme: &Scheme) -> String {
    if scheme.is_bearer { super::APP_CODE.to_owned() } else { SECRET.to_owned() }
}

/// A caller: the protocol that it speaks, and how it authenticates.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub driver: &'static Driver,
    pub scheme: &'static Scheme,
    pub sample: Sample,
    pub protocol: Arc<dyn Protocol>,
    pub id: String,
    pub secret: String,
    pub answers: Arc<Answers>,
}

/// Every protocol with every way to sign that it takes. Callers of ours have no temporary keys.
pub fn speakers() -> Vec<Speaker> {
    served().flat_map(|(driver, _)| (0..).map_while(move |n| Speaker::nth(driver, n))).collect()
}

/// One way to ask in each protocol.
pub fn one_of_each() -> Vec<Speaker> {
    served().filter_map(|(driver, _)| Speaker::nth(driver, 0)).collect()
}

impl Speaker {
    /// The caller of a driver with its `n`th way to sign.
    pub fn new(name: &str, n: usize) -> Self {
        Self::nth(driver(name).unwrap(), n).unwrap()
    }

    fn nth(driver: &'static Driver, n: usize) -> Option<Self> {
        let made = |sample: &Sample| {
            let Configured { protocol, access } = (driver.configure)(&driver.settings(sample)).ok()?;
            let credential = access.given()?.clone();
            Some((*sample, protocol, credential)).filter(|(_, _, credential)| credential.token().is_none())
        };
        let (sample, protocol, credential) = driver.samples.iter().filter_map(made).nth(n)?;
        let scheme = credential.scheme();
        let (id, secret) = (id_of(scheme), secret_of(scheme));
        Some(Self { driver, scheme, sample, protocol, id, secret, answers: Arc::new(Answers::of(driver.name)) })
    }

    /// The same with the keys of another client.
    pub fn of(&self, suffix: &str) -> Self {
        match self.scheme.is_bearer {
            true => Self { secret: format!("{}{suffix}", self.secret), ..self.clone() },
            false => Self { id: format!("{}{suffix}", self.id), ..self.clone() },
        }
    }

    pub fn is_signed(&self) -> bool {
        !self.scheme.is_bearer
    }

    pub fn label(&self) -> String {
        let way: Vec<_> = self.sample.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{} {}", self.driver.name, way.last().cloned().unwrap_or_default())
    }

    pub fn dialect(&self) -> &'static Dialect {
        self.driver.dialect.as_ref().unwrap()
    }

    pub fn service(&self) -> &'static dyn Service {
        self.dialect().service
    }

    pub fn covers(&self) -> &Covers {
        let is_met = |covers: &&Covers| {
            covers.condition.is_empty()
                || self.sample.iter().any(|(key, value)| covers.condition == format!("{key}={value}"))
        };
        self.answers.covers.iter().find(is_met).expect("the last has no condition")
    }

    /// What the driver says in a case of its fixture.
    #[track_caller]
    pub fn says(&self, case: &str) -> (u16, String) {
        let bearer = format!("{case}_bearer");
        let own = self.answers.says.get(&bearer).filter(|_| self.scheme.is_bearer);
        let said = own.or_else(|| self.answers.says.get(case));
        said.cloned().unwrap_or_else(|| panic!("dialect.json of {} has no {case}", self.driver.name))
    }

    /// Whether a request is answered once only.
    pub fn refuses_replays(&self) -> bool {
        self.answers.says.contains_key("replayed")
    }

    pub fn credential(&self) -> Credential {
        let secret = Secret::new(self.secret.as_str());
        if self.scheme.is_bearer {
            Credential::bearer(self.scheme, secret)
        } else {
            Credential::new(self.scheme, &*self.id, secret)
        }
    }

    /// What asks about a pair, signed now.
    pub fn request(&self, gateway: &TestGateway, pair: &Pair) -> Request<Bytes> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nonce = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.signed(&gateway.public.to_string(), pair, &Stamp { now: Timestamp::now(), nonce })
    }

    /// What asks `host` about a pair, as the driver asks its provider. The pair need not be a sound one.
    pub fn signed(&self, host: &str, pair: &Pair, stamp: &Stamp) -> Request<Bytes> {
        let endpoint = Endpoint::parse(&format!("https://{host}")).unwrap();
        let pair = providers::Pair { name: &pair.name, id_number: &pair.id_number };
        let mut request = self.protocol.encode_request(pair, &endpoint, &self.credential(), stamp).unwrap();
        let plain = request.uri().to_string().replacen("https://", "http://", 1);
        *request.uri_mut() = plain.parse::<Uri>().unwrap();
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        request
    }

    /// Asks about a pair.
    pub async fn ask(&self, gateway: &TestGateway, pair: &Pair) -> Answer {
        send(gateway, self.request(gateway, pair)).await
    }

    /// How a client of the protocol reads an answer about `pair`.
    pub fn heard(&self, pair: &Pair, answer: &Answer) -> Result<Finding, Fault> {
        self.protocol.decode_response((&subject(pair)).into(), &answer.0)
    }
}
