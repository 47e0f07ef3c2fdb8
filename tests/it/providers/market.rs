//! The two drivers of the cloud market: the signature, the gateway's errors, and each provider's own documents.

use bytes::Bytes;
use http::{Request, Response};
use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::outcome::{Fault, Outcome, Reason};
use idgate::domain::personal::{Personal, Secret};
use idgate::domain::subject::{PairRules, Subject};
use idgate::domain::verdict::{Finding, Verdict};
use idgate::providers::{self, Asked, Credential, Endpoint, Refusal, ReplyTo, Settings, Stamp};

use super::Made;

mod errors;
mod muzhiyun;
mod seal;
mod settings;
mod x_ca;
mod yunyi;

const BOTH: [&str; 2] = ["muzhiyun", "yunyi"];

/// The time of the signature vectors.
const NOW: &str = "2024-05-06T07:08:09Z";

fn settings(pairs: &[(&str, &str)]) -> Settings {
    providers::driver("yunyi").unwrap().settings(pairs)
}

fn configured(driver: &str, pairs: &[(&str, &str)]) -> Made {
    Made::of(providers::driver(driver).unwrap(), &settings(pairs)).unwrap()
}

fn sandboxed(driver: &str) -> Made {
    configured(driver, providers::driver(driver).unwrap().sample())
}

fn with_app_key(driver: &str, method: &str) -> Made {
    let secret = "test-app-secret-0123456789abcdef";
    configured(driver, &[("app_key", "203700001"), ("app_secret", secret), ("signature_method", method)])
}

fn subject(name: &str, number: &str) -> Subject {
    let number = IdNumber::parse(number, jiff::civil::date(2026, 11, 22), Calendar::Strict).unwrap();
    Subject::new(Name::parse(name).unwrap(), number, PairRules::default()).unwrap()
}

fn asked(name: &str, number: &str) -> Asked {
    Asked { name: Personal::new(name), id_number: Personal::new(number) }
}

fn stamp() -> Stamp {
    Stamp { now: NOW.parse().unwrap(), nonce: "5a0e6c0e-8b1f-4b7a-9d44-0f3c2f1d7e10".to_owned() }
}

fn request(driver: &Made, subject: &Subject, credential: &Credential) -> Request<Bytes> {
    let endpoint = Endpoint::parse("https://api.market.example").unwrap();
    driver.protocol.encode_request(subject.into(), &endpoint, credential, &stamp()).unwrap()
}

/// The result of decoding this response to a request about `subject`.
fn heard(driver: &str, subject: &Subject, status: u16, body: &str) -> Result<Finding, Fault> {
    let response = Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    sandboxed(driver).protocol.decode_response(subject.into(), &response)
}

fn verdict(result: Result<Finding, Fault>) -> Result<Verdict, (Outcome, Reason)> {
    result.map(|finding| finding.verdict).map_err(|fault| (fault.outcome, fault.reason))
}

fn unreadable<T>(reason: Reason) -> Result<T, (Outcome, Reason)> {
    Err((Outcome::Unreadable, reason))
}

fn reply_to(asked: Asked) -> ReplyTo {
    let request_id = "7AD052CB-EE8B-4DFD-BBAF-0FB340E0A5AF".to_owned();
    ReplyTo { request_id, host: "api.market.example".to_owned(), asked: Some(asked), ..ReplyTo::default() }
}

fn answered(driver: &str, answer: Result<Verdict, Refusal>, asked: Asked) -> Response<Bytes> {
    sandboxed(driver).service.encode_response(answer, &reply_to(asked))
}

/// The code with which the simulator refuses `request`.
fn refused_with(driver: &Made, request: &Request<Bytes>, at: &str) -> &'static str {
    let stamp = Stamp { now: at.parse().unwrap(), ..stamp() };
    driver.service.decode_request(request, &driver.credential, &stamp).0.unwrap_err().code.code
}

fn fixture(path: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}
