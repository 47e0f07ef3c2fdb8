//! The providers' own protocols, spoken to callers of ours: every dialect, every way to be refused, replays, mutations.
//!
//! Requests are made here with the signing functions, parameter by parameter, so that also what no encoder of ours would
//! send can be sent; answers are read by the codec that reads a provider's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::outcome::Fault;
use idgate::domain::personal::Secret;
use idgate::domain::subject::{PairRules, Subject};
use idgate::domain::verdict::Finding;
use idgate::providers::alibaba::x_ca::Algorithm;
use idgate::providers::alibaba::{acs3, form, rpc_v1, seal, x_ca};
use idgate::providers::{Driver, Protocol, Stamp, driver};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Pair, TestGateway};

mod canary;
mod chained;
mod configuration;
mod dialects;
mod identity;
mod mutation;
mod repeated;
mod words;

pub const ACCESS_KEY: &str = "IDGTESTACCESSKEY0001";
pub const APP_KEY: &str = "IDGTESTAPPKEY0001";
pub const SECRET: &str = "idg_synthetic-secret-of-a-pair";
pub const APP_CODE: &str = "idg_synthetic-app-code-0123456789";

/// The edge switched on, and a client with one key of each kind and these further members.
fn section(more: &str) -> String {
    format!("[compat]\nenabled = true\n{}", client("legacy", "", more))
}

/// A client whose keys end in `suffix`.
fn client(name: &str, suffix: &str, more: &str) -> String {
    format!(
        "[clients.{name}]\n\
         access_keys = [{{ id = \"{ACCESS_KEY}{suffix}\", secret = {{ value = \"{SECRET}\" }} }}]\n\
         app_keys = [{{ key = \"{APP_KEY}{suffix}\", secret = {{ value = \"{SECRET}\" }} }}]\n\
         app_codes = [{{ id = \"{name}-code\", sha256 = \"{}\" }}]\n{more}\n",
        hash(&format!("{APP_CODE}{suffix}"))
    )
}

fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// Somebody's way to ask: a protocol, and how its caller proves who it is.
#[derive(Debug, Clone)]
struct Speaker {
    driver: &'static Driver,
    proof: Proof,
    id: String,
    secret: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    V1,
    V3,
    AppCode,
    AppKey(Algorithm),
}

/// Every protocol with every proof that it takes.
fn speakers() -> Vec<Speaker> {
    let ways = [
        ("aliyun", Proof::V3),
        ("aliyun", Proof::V1),
        ("aliyun_intl", Proof::V3),
        ("aliyun_intl", Proof::V1),
        ("muzhiyun", Proof::AppCode),
        ("muzhiyun", Proof::AppKey(Algorithm::HmacSha256)),
        ("yunyi", Proof::AppCode),
        ("yunyi", Proof::AppKey(Algorithm::HmacSha1)),
    ];
    ways.map(|(name, proof)| Speaker::new(name, proof)).into()
}

/// One way to ask in each of the four protocols.
fn one_of_each() -> Vec<Speaker> {
    speakers().into_iter().step_by(2).collect()
}

impl Speaker {
    fn new(name: &str, proof: Proof) -> Self {
        let (id, secret) = match proof {
            Proof::V1 | Proof::V3 => (ACCESS_KEY, SECRET),
            Proof::AppCode => ("", APP_CODE),
            Proof::AppKey(_) => (APP_KEY, SECRET),
        };
        Self { driver: driver(name).unwrap(), proof, id: id.to_owned(), secret: secret.to_owned() }
    }

    /// The same with the keys of another client.
    fn of(&self, suffix: &str) -> Self {
        match self.proof {
            Proof::AppCode => Self { secret: format!("{}{suffix}", self.secret), ..self.clone() },
            _ => Self { id: format!("{}{suffix}", self.id), ..self.clone() },
        }
    }

    fn is_signed(&self) -> bool {
        self.proof != Proof::AppCode
    }

    fn is_rpc(&self) -> bool {
        matches!(self.proof, Proof::V1 | Proof::V3)
    }

    fn label(&self) -> String {
        format!("{} {:?}", self.driver.name, self.proof)
    }

    fn protocol(&self) -> Arc<dyn Protocol> {
        self.driver.sandbox().unwrap().protocol
    }

    /// What asks about a pair, signed now.
    fn request(&self, gateway: &TestGateway, pair: &Pair) -> Request<Bytes> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nonce = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.signed(&gateway.public.to_string(), pair, &Stamp { now: Timestamp::now(), nonce })
    }

    /// What asks `host` about a pair.
    fn signed(&self, host: &str, pair: &Pair, stamp: &Stamp) -> Request<Bytes> {
        let secret = Secret::new(self.secret.as_str());
        let (name, number) = (pair.name.as_str(), pair.id_number.as_str());
        let form = |request: http::request::Builder, pairs: &[(&str, &str)]| {
            let request = request.header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
            request.body(Bytes::from(form::encode_pairs(pairs.iter().copied()))).unwrap()
        };
        let to = |path: &str| format!("http://{host}{path}");
        let start = |method: &str, path: &str| {
            Request::builder().method(method).uri(to(path)).header("host", host).header("accept", "application/json")
        };
        let mut request = match (self.driver.name, self.proof) {
            ("muzhiyun", _) => {
                let query = form::encode_pairs([("xm", name), ("sfz", number)]);
                start("GET", &format!("/idcard?{query}")).body(Bytes::new()).unwrap()
            }
            ("yunyi", _) => form(start("POST", "/idenAuthentication"), &[("idNo", number), ("name", name)]),
            (of, proof) => {
                let is_intl = of == "aliyun_intl";
                let (action, version) =
                    if is_intl { ("Id2MetaVerifyIntl", "2022-08-09") } else { ("Id2MetaVerify", "2019-03-07") };
                let mut business = vec![("ParamType", "normal"), ("IdentifyNum", number), ("UserName", name)];
                business.extend(is_intl.then_some(("ProductCode", "ID_2META")));
                let time = seal::time_stamp(stamp.now);
                if proof == Proof::V1 {
                    let mut all = business.clone();
                    all.extend([
                        ("AccessKeyId", self.id.as_str()),
                        ("Action", action),
                        ("Format", "JSON"),
                        ("SignatureMethod", "HMAC-SHA1"),
                        ("SignatureNonce", &stamp.nonce),
                        ("SignatureVersion", "1.0"),
                        ("Timestamp", &time),
                        ("Version", version),
                    ]);
                    let signature = rpc_v1::sign("POST", &all, &secret);
                    all.push((rpc_v1::SIGNATURE, &signature));
                    return form(start("POST", "/"), &all);
                }
                let start = |path: &str| {
                    let start = start("POST", path).header("x-acs-action", action).header("x-acs-version", version);
                    start.header("x-acs-date", &time).header("x-acs-signature-nonce", &stamp.nonce)
                };
                match is_intl {
                    true => {
                        let query = form::encode_pairs(business);
                        start(&format!("/?{query}")).body(Bytes::new()).unwrap()
                    }
                    false => form(start("/"), &business),
                }
            }
        };
        match self.proof {
            Proof::V1 => {}
            Proof::V3 => acs3::sign(&mut request, &self.id, &secret).unwrap(),
            Proof::AppCode => {
                request.headers_mut().insert("authorization", format!("APPCODE {}", self.secret).parse().unwrap());
            }
            Proof::AppKey(algorithm) => x_ca::sign(&mut request, &self.id, &secret, algorithm, stamp).unwrap(),
        }
        request
    }

    /// Asks about a pair.
    async fn ask(&self, gateway: &TestGateway, pair: &Pair) -> Answer {
        send(gateway, self.request(gateway, pair)).await
    }

    /// What a client of the protocol makes of an answer about `pair`.
    fn heard(&self, pair: &Pair, answer: &Answer) -> Result<Finding, Fault> {
        self.protocol().decode_response(&subject(pair), &answer.0)
    }
}

/// An answer.
#[derive(Debug)]
struct Answer(Response<Bytes>);

async fn send(gateway: &TestGateway, request: Request<Bytes>) -> Answer {
    let request = reqwest::Request::try_from(request).unwrap();
    let response = gateway.http.execute(request).await.expect("the gateway answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let mut whole = Response::new(response.bytes().await.expect("the whole answer"));
    (*whole.status_mut(), *whole.headers_mut()) = (status, headers);
    Answer(whole)
}

impl Answer {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    fn header(&self, name: &str) -> &str {
        self.0.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn body(&self) -> Value {
        serde_json::from_slice(self.0.body()).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.0.body()).into_owned()
    }

    /// The protocol's own word: its code, or its text where it has only texts. With a verdict, the verdict's.
    fn word(&self) -> String {
        let body = self.body();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let biz_code = text(&body["ResultObject"]["BizCode"]).or_else(|| text(&body["Result"]["BizCode"]));
        let of_body = || ["Code", "respCode", "msg"].iter().find_map(|member| text(&body[member]));
        let of_head = || {
            let headers = ["x-ca-error-code", "x-ca-error-message"].map(|name| self.header(name).to_owned());
            headers.into_iter().find(|value| !value.is_empty())
        };
        let text_of_all = self.text();
        let of_xml = || Some(text_of_all.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned());
        biz_code
            .map(|code| format!("BizCode {code}"))
            .or_else(of_body)
            .or_else(of_xml)
            .or_else(of_head)
            .unwrap_or_default()
    }

    /// Status and word.
    fn said(&self) -> (u16, String) {
        (self.status(), self.word())
    }
}

fn subject(pair: &Pair) -> Subject {
    let today = jiff::civil::date(2026, 11, 22);
    let number = IdNumber::parse(&pair.id_number, today, Calendar::Lenient).expect("a sound number");
    Subject::new(Name::parse(&pair.name).expect("a sound name"), number, PairRules::default()).expect("a sound pair")
}

/// The sandbox's first person, under the right name.
fn right() -> Pair {
    Pair::new("张三", "11010519491231002X")
}

/// The same number with another name.
fn wrong() -> Pair {
    Pair::new("李四", "11010519491231002X")
}

/// Nobody.
fn nobody() -> Pair {
    Pair::new("张三", "440524188001010014")
}
