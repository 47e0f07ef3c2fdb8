//! The providers' protocols, served to our callers: every dialect, every refusal, replays, mutations.
//!
//! Requests are encoded by the provider's own codec, for valid and invalid pairs; the same codec decodes the answers.
//! The fixture of each driver lists what its protocol answers.

use bytes::Bytes;
use http::{Request, Response};
use idgate::domain::id_number::{Calendar, IdNumber};
use idgate::domain::name::Name;
use idgate::domain::subject::{PairRules, Subject};
use idgate::providers::{Scheme, schemes};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Pair, TestGateway};
use speaker::{Answers, Speaker, id_of, one_of_each, secret_of, served, speakers};

mod bodies;
mod canary;
mod chained;
mod configuration;
mod dialects;
mod identity;
mod mutation;
mod repeated;
mod speaker;
mod words;

pub const ACCESS_KEY: &str = "IDGTESTACCESSKEY0001";
pub const SECRET: &str = "idg_synthetic-secret-of-a-pair";
pub const APP_CODE: &str = "idg_synthetic-app-code-0123456789";

/// The configuration with `[compat]` enabled and a client with one key of each scheme; `more` adds members to the
/// client.
fn section(more: &str) -> String {
    format!("[compat]\nenabled = true\n{}", client("legacy", "", more))
}

/// A client whose key ids and codes end in `suffix`.
fn client(name: &str, suffix: &str, more: &str) -> String {
    let list = |scheme: &Scheme| match scheme.is_bearer {
        true => format!(
            "{} = [{{ id = \"{name}-code\", sha256 = \"{}\" }}]\n",
            scheme.issued.list,
            hash(&format!("{}{suffix}", secret_of(scheme)))
        ),
        false => format!(
            "{} = [{{ {} = \"{}{suffix}\", secret = {{ value = \"{SECRET}\" }} }}]\n",
            scheme.issued.list,
            scheme.issued.id,
            id_of(scheme)
        ),
    };
    let lists: String = schemes().into_iter().map(list).collect();
    format!("[clients.{name}]\n{lists}{more}\n")
}

fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

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

    /// The protocol's own code, or its message where it has only messages; for a verdict, the verdict's code.
    fn word(&self) -> String {
        let body = self.body();
        let places = served().flat_map(|(driver, _)| Answers::of(driver.name).word);
        let in_body = |(before, pointer): (String, String)| {
            Some(format!("{before}{}", body.pointer(&pointer).and_then(Value::as_str)?))
        };
        // The code of a verdict has a prefix, and takes precedence.
        let (verdicts, others): (Vec<_>, Vec<_>) = places.partition(|(before, _)| !before.is_empty());
        let of_body = || verdicts.into_iter().chain(others).find_map(in_body);
        let of_head = || {
            let headers = ["x-ca-error-code", "x-ca-error-message"].map(|name| self.header(name).to_owned());
            headers.into_iter().find(|value| !value.is_empty())
        };
        let text_of_all = self.text();
        let of_xml = || Some(text_of_all.split_once("<Code>")?.1.split_once("</Code>")?.0.to_owned());
        of_body().or_else(of_xml).or_else(of_head).unwrap_or_default()
    }

    /// Whether this is a verdict, where no provider fails: then only verdicts have a verification id.
    fn is_answered(&self) -> bool {
        !self.header("x-idgate-verification-id").is_empty()
    }

    fn said(&self) -> (u16, String) {
        (self.status(), self.word())
    }
}

fn subject(pair: &Pair) -> Subject {
    let today = jiff::civil::date(2026, 11, 22);
    let number = IdNumber::parse(&pair.id_number, today, Calendar::Lenient).expect("a sound number");
    Subject::new(Name::parse(&pair.name).expect("a sound name"), number, PairRules::default()).expect("a sound pair")
}

/// The sandbox's first person, with the right name.
fn right() -> Pair {
    Pair::new("张三", "11010519491231002X")
}

/// The same number with another name.
fn wrong() -> Pair {
    Pair::new("李四", "11010519491231002X")
}

/// A person unknown to the sandbox.
fn nobody() -> Pair {
    Pair::new("张三", "440524188001010014")
}
