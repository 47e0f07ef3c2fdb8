//! Tests of the driver against external data: the vendor's signatures, requests of its clients, and documented and
//! recorded responses.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, Request};
use jiff::Timestamp;
use serde::Deserialize;

use super::DRIVER;
use super::client::SERVICE;
use super::scheme::SECRET_KEY;
use super::{gate, tc3, v1};
use crate::domain::personal::Secret;
use crate::providers::codec::{form, hex};
use crate::providers::{Asked, Credential, Endpoint, Pair, Stamp};

mod answers;
mod credentials;

/// The transcripts contain PORT; this is the only port for which the Python client's signatures are valid.
const RECORDED_PORT: &str = "35935";
const KEY: &str = "testSecretKey0000000000000000000";
const ID: &str = "AKIDtestSecretId0000000000000000";

pub(super) fn fixture(path: &str) -> String {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[derive(Deserialize)]
struct Vectors {
    tc3_hmac_sha256: Vec<Tc3>,
    python_requests: Vec<Recorded>,
    v1_hmac: Vec<V1>,
}

#[derive(Deserialize)]
struct Tc3 {
    id: String,
    method: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: String,
    timestamp: i64,
    service: String,
    secret_id: String,
    secret_key: String,
    signed_headers: String,
    hashed_payload: String,
    canonical_request: String,
    string_to_sign: String,
    signature: String,
    authorization: String,
}

#[derive(Deserialize)]
struct Recorded {
    id: String,
    method: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    query: String,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
struct V1 {
    id: String,
    method: String,
    host: String,
    signature_method: String,
    secret_key: String,
    params: BTreeMap<String, String>,
    string_to_sign: String,
    signature: String,
    #[serde(default)]
    wire: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(&fixture("vectors/signatures-tencent.json")).unwrap()
}

fn request(method: &str, query: &str, headers: &BTreeMap<String, String>, body: String) -> Request<Bytes> {
    let target = if query.is_empty() { "/".to_owned() } else { format!("/?{query}") };
    let mut request = Request::builder().method(method).uri(target).body(Bytes::from(body)).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    request
}

#[test]
fn tc3_signs_as_the_vendors_packages_do() {
    let vectors = vectors().tc3_hmac_sha256;
    assert!(vectors.len() >= 20, "{}", vectors.len());
    for vector in vectors {
        let id = &vector.id;
        let secret = Secret::new(vector.secret_key.as_str());
        let request = request(&vector.method, &vector.query, &vector.headers, vector.body.clone());
        // One client signs a host other than the one it sends.
        let host = vector.canonical_request.lines().find_map(|line| line.strip_prefix("host:"));
        let canonical = tc3::canonical_request(&request, &vector.signed_headers, &vector.hashed_payload, host).unwrap();
        assert_eq!(canonical, vector.canonical_request, "{id}");
        let date = tc3::date_of(Timestamp::from_second(vector.timestamp).unwrap());
        let text = tc3::string_to_sign(vector.timestamp, &date, &vector.service, &canonical);
        assert_eq!(text, vector.string_to_sign, "{id}");
        assert_eq!(tc3::signature(&secret, &date, &vector.service, &text), vector.signature, "{id}");

        let now = Timestamp::from_second(vector.timestamp).unwrap();
        let mut sent = request.clone();
        sent.headers_mut().insert("x-tc-timestamp", vector.timestamp.to_string().parse().unwrap());
        sent.headers_mut().insert("authorization", vector.authorization.parse().unwrap());
        let authorization = tc3::Authorization::read(sent.headers()).unwrap();
        assert_eq!(authorization.secret_id, vector.secret_id, "{id}");
        let is_whole = hex::sha256(sent.body()) == vector.hashed_payload;
        assert_eq!(tc3::verify(&sent, authorization, &secret, now).is_ok(), is_whole, "{id}");
        // We sign the same headers as all of the vendor's clients.
        if vector.signed_headers == "content-type;host" && is_whole && request.headers()["host"] == host.unwrap() {
            let mut ours = request;
            tc3::sign(&mut ours, &vector.secret_id, &secret, &vector.service, now).unwrap();
            assert_eq!(ours.headers()["authorization"], vector.authorization, "{id}");
        }
    }
}

#[test]
fn v1_signs_as_the_vendors_packages_do() {
    let vectors = vectors().v1_hmac;
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let pairs: Vec<_> = vector.params.into_iter().collect();
        let text = v1::string_to_sign(&vector.method, &vector.host, &pairs);
        assert_eq!(text, vector.string_to_sign, "{}", vector.id);
        let signature = v1::sign(&vector.signature_method, &Secret::new(vector.secret_key), &text);
        assert_eq!(signature.as_deref(), Some(&*vector.signature), "{}", vector.id);
        if !vector.wire.is_empty() {
            let read = form::decode_pairs(vector.wire.as_bytes());
            assert_eq!(v1::string_to_sign(&vector.method, &vector.host, &read), text, "{}", vector.id);
        }
    }
}

fn key() -> Credential {
    Credential::new(&SECRET_KEY, ID, Secret::new(KEY))
}

fn at(seconds: i64) -> Stamp {
    Stamp { now: Timestamp::from_second(seconds).unwrap(), nonce: "94b54cdf-d975-4718-b091-32f8d79d6397".to_owned() }
}

/// The pair that the gate reads from a request, or the error code.
fn served(request: &Request<Bytes>, key: &Credential, stamp: &Stamp) -> Result<Asked, &'static str> {
    gate::decode(request, key, stamp).0.map_err(|refusal| refusal.code.code)
}

#[test]
fn whole_requests_of_the_python_client_are_accepted() {
    for recorded in vectors().python_requests {
        let request = request(&recorded.method, &recorded.query, &recorded.headers, recorded.body);
        let seconds = recorded.headers["X-TC-Timestamp"].parse().unwrap();
        let token = recorded.headers.get("X-TC-Token").map(|token| Secret::new(token.as_str()));
        let asked = served(&request, &key().with_token(token), &at(seconds));
        assert!(asked.is_ok(), "{}: {asked:?}", recorded.id);
    }
}

/// The recorded requests of a transcript, with their titles.
pub(super) fn recorded(file: &str) -> Vec<(String, Request<Bytes>)> {
    let text = fixture(&format!("transcripts/{file}")).replace("\r\n", "\n").replace("PORT", RECORDED_PORT);
    let mut title = String::new();
    let mut found = Vec::new();
    for section in text.split("\n--- request ").map(|section| section.split_once('\n').unwrap_or((section, ""))) {
        let (_, raw) = section;
        if !title.is_empty()
            && let Some((head, rest)) = raw.split_once("\n\n")
        {
            let mut lines = head.lines();
            let [method, target, _] = lines.next().unwrap().split(' ').collect::<Vec<_>>().try_into().unwrap();
            let mut request = Request::builder().method(method).uri(target).body(Bytes::new()).unwrap();
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let length = request.headers().get("content-length");
            let length = length.map_or(0, |length| length.to_str().unwrap().parse::<usize>().unwrap());
            *request.body_mut() = Bytes::copy_from_slice(&rest.as_bytes()[..length]);
            found.push((title.clone(), request));
        }
        // The title of the next request is at the end of this section.
        if let Some((_, next)) = section.1.rsplit_once("### ").or(section.0.rsplit_once("### ")) {
            title = next.lines().next().unwrap_or_default().to_owned();
        } else if title.is_empty() {
            title = "first".to_owned();
        }
    }
    found
}

#[test]
fn every_recorded_request_is_accepted_and_with_a_changed_name_none() {
    let mut accepted = 0;
    for file in ["tencent-python.txt", "tencent-node.txt"] {
        for (title, request) in recorded(file) {
            let is_ours = request.headers().get("x-tc-action").is_none_or(|action| action == "IdCardVerification");
            if !is_ours || request.uri().path() != "/" {
                continue;
            }
            let in_form = form::decode_pairs(request.uri().query().unwrap_or_default().as_bytes());
            let in_form = in_form.into_iter().chain(form::decode_pairs(request.body()));
            let time = request.headers().get("x-tc-timestamp").map(|value| value.to_str().unwrap().to_owned());
            let mut parameters: BTreeMap<String, String> = in_form.collect();
            let stamp = at(time.or(parameters.remove("Timestamp")).unwrap().parse().unwrap());
            let token = request.headers().get("x-tc-token").map(|value| value.to_str().unwrap().to_owned());
            let token = token.or(parameters.remove("Token")).map(Secret::new);
            let key = key().with_token(token);
            let asked = served(&request, &key, &stamp);
            let body = String::from_utf8_lossy(request.body()).into_owned();
            let expected = if request.headers().contains_key("x-tc-content-sha256") {
                Some("AuthFailure.SignatureFailure")
            } else if body.contains("Encryption") {
                Some("FailedOperation.DecryptSystemError")
            } else {
                None
            };
            match expected {
                Some(code) => assert_eq!(asked, Err(code), "{file} {title}"),
                // Names with quotes are recorded too: the signature is valid and the name is not.
                None if asked == Err("-3") => assert!(title.contains("quotes") || title.contains("GET"), "{title}"),
                None => drop(asked.unwrap_or_else(|code| panic!("{file} {title}: {code}\n{request:?}"))),
            }
            accepted += 1;
            let mut changed = request.clone();
            *changed.body_mut() = body.replace("1101011900", "1101021900").into();
            if changed.body() != request.body() {
                let code = served(&changed, &key, &stamp).unwrap_err();
                assert_eq!(code, "AuthFailure.SignatureFailure", "{file} {title}");
            }
            assert_eq!(gate::addressed(&request), crate::providers::dialect::Addressed::ByName, "{file} {title}");
            let late = at(stamp.now.as_second() + 301);
            assert!(served(&request, &key, &late).is_err(), "{file} {title}");
        }
    }
    assert!(accepted >= 30, "{accepted}");
}

fn ask(body: &str, change: impl FnOnce(&mut Request<Bytes>)) -> Result<Asked, &'static str> {
    let stamp = at(1_714_979_289);
    let mut request = Request::post("/")
        .header("host", "idgate.internal:8443")
        .header("content-type", "application/json")
        .header("x-tc-action", "IdCardVerification")
        .header("x-tc-version", "2018-03-01")
        .header("x-tc-timestamp", stamp.now.as_second())
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .unwrap();
    tc3::sign(&mut request, ID, &Secret::new(KEY), SERVICE, stamp.now).unwrap();
    change(&mut request);
    served(&request, &key(), &stamp)
}

#[test]
fn checks_run_in_the_order_of_the_service() {
    const GOOD: &str = r#"{"IdCard":"110101190001010014","Name":"张三"}"#;
    let header = |name: &'static str, value: &'static str| {
        ask(GOOD, |request| drop(request.headers_mut().insert(name, value.parse().unwrap())))
    };
    assert!(ask(GOOD, |_| ()).is_ok());
    assert!(ask(GOOD, |request| *request.uri_mut() = "/?".parse().unwrap()).is_ok());
    assert_eq!(ask(GOOD, |request| *request.method_mut() = http::Method::PUT), Err("UnsupportedProtocol"));
    assert_eq!(ask(GOOD, |request| *request.uri_mut() = "/x".parse().unwrap()), Err("InvalidAction"));
    assert_eq!(ask(GOOD, |request| drop(request.headers_mut().remove("x-tc-action"))), Err("MissingParameter"));
    assert_eq!(header("x-tc-action", "idCardVerification"), Err("InvalidAction"));
    assert_eq!(header("x-tc-version", "2018-03-02"), Err("NoSuchVersion"));
    assert_eq!(header("authorization", "SKIP"), Err("AuthFailure.InvalidAuthorization"));
    assert_eq!(header("x-tc-token", "token"), Err("AuthFailure.TokenFailure"));
    assert_eq!(header("x-tc-timestamp", "1714979590"), Err("AuthFailure.SignatureExpire"));
    assert_eq!(header("x-tc-timestamp", "1714979290"), Err("AuthFailure.SignatureFailure"));
    assert_eq!(header("x-tc-timestamp", "+1714979289"), Err("AuthFailure.InvalidAuthorization"));
    assert_eq!(header("x-tc-content-sha256", "UNSIGNED-PAYLOAD"), Err("AuthFailure.SignatureFailure"));
    assert_eq!(header("content-type", "application/json; charset=utf-8"), Err("AuthFailure.SignatureFailure"));
    // Region and language are not signed and have no effect.
    assert!(header("x-tc-region", "ap-shanghai").is_ok() && header("x-tc-language", "en-US").is_ok());
    for (body, code) in [
        ("", "InvalidParameter"),
        ("[]", "InvalidParameter"),
        ("null", "InvalidParameter"),
        (r#"{"IdCard":"1"}"#, "MissingParameter"),
        (r#"{"IdCard":"1","Name":null}"#, "MissingParameter"),
        (r#"{"IdCard":1,"Name":"张三"}"#, "InvalidParameter"),
        (r#"{"IdCard":"1","Name":"张三","Name":"李四"}"#, "InvalidParameter"),
        (r#"{"IdCard":"1","Name":"张三","Other":1}"#, "UnknownParameter"),
        (r#"{"IdCard":"1","Name":"张三","Encryption":{}}"#, "FailedOperation.DecryptSystemError"),
        (r#"{"IdCard":"1","Name":"张三"}"#, "-2"),
        (r#"{"IdCard":"110101190001010014","Name":"张3"}"#, "-3"),
    ] {
        assert_eq!(ask(body, |_| ()), Err(code), "{body}");
    }
    assert!(ask(r#" {"Name" : "\u5f20\u4e09", "IdCard":"110101190001010014", "Encryption":null} "#, |_| ()).is_ok());
}

#[test]
fn the_vendors_own_names_want_the_service_in_the_scope_and_others_do_not() {
    let stamp = at(1_714_979_289);
    for (host, service, is_accepted) in [
        ("faceid.tencentcloudapi.com", "faceid", true),
        ("faceid.tencentcloudapi.com", "sts", false),
        ("idgate.internal", "idgate", true),
    ] {
        let body = r#"{"IdCard":"110101190001010014","Name":"张三"}"#;
        let mut request = Request::post("/").header("host", host).header("content-type", "application/json");
        request = request.header("x-tc-action", "IdCardVerification").header("x-tc-version", "2018-03-01");
        let mut request =
            request.header("x-tc-timestamp", 1_714_979_289).body(Bytes::from_static(body.as_bytes())).unwrap();
        tc3::sign(&mut request, ID, &Secret::new(KEY), service, stamp.now).unwrap();
        assert_eq!(served(&request, &key(), &stamp).is_ok(), is_accepted, "{host} {service}");
    }
}

#[test]
fn a_request_is_what_the_vendors_clients_send() {
    let settings = DRIVER.settings(&[("secret_id", ID), ("secret_key", KEY), ("region", "ap-guangzhou")]);
    let made = (DRIVER.configure)(&settings).unwrap();
    let endpoint = Endpoint::parse("https://faceid.tencentcloudapi.com").unwrap();
    let pair = Pair { name: "张三", id_number: "110101190001010014" };
    let credential = key().with_token(Some(Secret::new("testToken")));
    let request = made.protocol.encode_request(pair, &endpoint, &credential, &at(1_714_979_289)).unwrap();
    assert_eq!(&request.body()[..], r#"{"IdCard":"110101190001010014","Name":"张三"}"#.as_bytes());
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    assert_eq!(request.uri(), "https://faceid.tencentcloudapi.com/");
    assert_eq!((header("host"), header("content-type")), ("faceid.tencentcloudapi.com", "application/json"));
    assert_eq!((header("x-tc-action"), header("x-tc-version")), ("IdCardVerification", "2018-03-01"));
    assert_eq!((header("x-tc-region"), header("x-tc-token")), ("ap-guangzhou", "testToken"));
    assert!(header("authorization").contains("/2024-05-06/faceid/tc3_request, SignedHeaders=content-type;host, "));
    for secret in ["authorization", "x-tc-token"] {
        assert!(request.headers()[secret].is_sensitive());
    }
}

#[test]
fn every_mistake_in_the_settings_is_told_at_once() {
    let mistakes = |pairs: &[(&str, &str)]| {
        let made = (DRIVER.configure)(&DRIVER.settings(pairs));
        made.unwrap_err().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(mistakes(&[]), ["secret_id", "secret_key"]);
    assert_eq!(
        mistakes(&[("secret_id", "a b"), ("secret_key", "k"), ("region", "Ap"), ("colour", "red")]),
        ["secret_id", "region", "driver"]
    );
    assert_eq!(mistakes(&[("secret_id", ID), ("secret_key", KEY), ("encryption", "SM4-GCM")]), ["encryption"]);
    assert_eq!(mistakes(&[("secret_id", ID), ("credentials.kind", "cvm_metadata")]), ["secret_id"]);
    assert_eq!(mistakes(&[("credentials.kind", "cvm")]), ["credentials.kind"]);
}
