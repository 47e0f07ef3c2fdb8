//! Callers of the providers' protocols: one for each driver and each way of signing in its samples. The expected
//! answers come from `tests/fixtures/<driver>/dialect.json`, so a new driver needs only its fixture to be tested.

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

/// The answers of a driver, as its documents specify them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Where to find the code of an answer: (prefix, JSON pointer). The first pointer that exists counts.
    pub word: Vec<(String, String)>,
    /// Status and code for each case.
    pub says: BTreeMap<String, (u16, String)>,
    /// Codes about the person, which only an authenticated caller gets.
    pub judges: Vec<String>,
    /// Whether the answer says how long to wait.
    pub tells_pause: bool,
    /// What each way of signing covers; the first entry whose condition fits the sample applies.
    pub covers: Vec<Covers>,
    /// For each of our codes, the outcomes that an idgate in front may decode it to.
    pub reads_as: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covers {
    /// `key=value` of the sample; an empty condition fits any sample.
    #[serde(rename = "if")]
    condition: String,
    /// The header that lists the signed headers; empty if there is none.
    pub list: String,
    /// The separator of the names in that list.
    pub separator: String,
    /// Headers that are covered without being listed.
    pub headers: Vec<String>,
    /// Whether the query is covered as raw text (`raw`) or as its pairs (`decoded`).
    pub query: String,
    /// Whether the pairs of a form body are covered.
    pub form: bool,
    /// Whether the raw body is covered.
    pub body: bool,
    /// Whether header values are compared in lower case.
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

/// The drivers that also serve callers.
pub fn served() -> impl Iterator<Item = (&'static Driver, &'static Dialect)> {
    DRIVERS.iter().filter_map(|driver| Some((*driver, driver.dialect.as_ref()?)))
}

/// The public id that tests give a key of this scheme; empty for a bearer secret.
pub fn id_of(scheme: &Scheme) -> String {
    let letters: String = scheme.name.chars().filter(char::is_ascii_alphanumeric).collect();
    if scheme.is_bearer { String::new() } else { format!("IDGTEST{}0001", letters.to_uppercase()) }
}

/// The secret that tests give a key of this scheme.
pub fn secret_of(scheme: &Scheme) -> String {
    if scheme.is_bearer { super::APP_CODE.to_owned() } else { SECRET.to_owned() }
}

/// A caller: its protocol and its way of authenticating.
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

/// Every protocol with every way of signing that it accepts. Our callers have no temporary keys.
pub fn speakers() -> Vec<Speaker> {
    served().flat_map(|(driver, _)| (0..).map_while(move |n| Speaker::nth(driver, n))).collect()
}

/// One caller for each protocol.
pub fn one_of_each() -> Vec<Speaker> {
    served().filter_map(|(driver, _)| Speaker::nth(driver, 0)).collect()
}

impl Speaker {
    /// The caller with the `n`th way of signing of a driver.
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

    /// The same caller with the keys of another client.
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

    /// The status and code that the fixture specifies for a case.
    #[track_caller]
    pub fn says(&self, case: &str) -> (u16, String) {
        let bearer = format!("{case}_bearer");
        let own = self.answers.says.get(&bearer).filter(|_| self.scheme.is_bearer);
        let said = own.or_else(|| self.answers.says.get(case));
        said.cloned().unwrap_or_else(|| panic!("dialect.json of {} has no {case}", self.driver.name))
    }

    /// Whether the protocol refuses a repeated request.
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

    /// A request about a pair, signed now.
    pub fn request(&self, gateway: &TestGateway, pair: &Pair) -> Request<Bytes> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nonce = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.signed(&gateway.public.to_string(), pair, &Stamp { now: Timestamp::now(), nonce })
    }

    /// A request about a pair to `host`, encoded as for the provider. The pair need not be valid.
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

    pub async fn ask(&self, gateway: &TestGateway, pair: &Pair) -> Answer {
        send(gateway, self.request(gateway, pair)).await
    }

    /// An answer about `pair`, as a client of the protocol decodes it.
    pub fn heard(&self, pair: &Pair, answer: &Answer) -> Result<Finding, Fault> {
        self.protocol.decode_response((&subject(pair)).into(), &answer.0)
    }
}
