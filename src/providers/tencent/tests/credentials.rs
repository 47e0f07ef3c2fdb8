//! Credential sources without I/O, against recorded exchanges of the vendor's own client.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use zeroize::Zeroizing;

use super::{ID, KEY, recorded};
use crate::domain::personal::Secret;
use crate::providers::source::{Granted, Miss, MissReason, Source, Step};
use crate::providers::tencent::DRIVER;
use crate::providers::{Access, Stamp};

const NOW: &str = "2026-11-28T00:00:00Z";
const LENT: &str = r#"{"Response":{"Credentials":{"Token":"t","TmpSecretId":"AKIDlent","TmpSecretKey":"s"},"ExpiredTime":4102444800,"Expiration":"2100-01-01T00:00:00Z","RequestId":"r"}}"#;
const OF_MACHINE: &str = r#"{"TmpSecretId":"AKIDmachine","TmpSecretKey":"s","ExpiredTime":4102444800,"Expiration":"2100-01-01T00:00:00Z","Token":"t","Code":"Success"}"#;
const TKE: [(&str, &str); 4] = [
    ("TKE_REGION", "ap-guangzhou"),
    ("TKE_PROVIDER_ID", "cls-test"),
    ("TKE_WEB_IDENTITY_TOKEN_FILE", "/token"),
    ("TKE_ROLE_ARN", "qcs::cam::uin/100000000001:roleName/idv"),
];

/// The source for these settings and variables, or the keys of all mistakes.
fn source(settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Arc<dyn Source>, Vec<&'static str>> {
    let mut all = DRIVER.settings(&[]);
    for (key, value) in settings {
        match DRIVER.is_secret(key.trim_start_matches("credentials.")) {
            true => drop(all.secret.insert((*key).to_owned(), Secret::new(*value))),
            false => drop(all.plain.insert((*key).to_owned(), (*value).to_owned())),
        }
    }
    all.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
    match (DRIVER.configure)(&all).map(|configured| configured.access) {
        Ok(Access::Fetched(source)) => Ok(source),
        Ok(Access::Given(_)) => panic!("given"),
        Err(mistakes) => Err(mistakes.into_iter().map(|(key, _)| key).collect()),
    }
}

/// Files by path, responses by URL suffix, and all requests sent.
#[derive(Default)]
struct Other {
    files: BTreeMap<&'static str, &'static str>,
    answers: BTreeMap<&'static str, &'static str>,
    sent: Vec<Request<Bytes>>,
}

impl Other {
    fn fetch(&mut self, settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Granted, Vec<Miss>> {
        let mut step = source(settings, variables).unwrap_or_else(|keys| panic!("{keys:?}")).begin(None);
        loop {
            step = match step {
                Step::Done(granted) => return Ok(granted),
                Step::Failed(misses) => return Err(misses),
                Step::Read(path, then) => {
                    let found = self.files.get(path.to_str().unwrap());
                    then(found.map(|text| Zeroizing::new(text.as_bytes().to_vec())))
                }
                Step::Ask(ask, then) => {
                    let stamp = Stamp { now: NOW.parse().unwrap(), nonce: "nonce".to_owned() };
                    let request = (ask.compose)(&stamp).unwrap();
                    let uri = request.uri().to_string();
                    let answer = self.answers.iter().find(|(end, _)| uri.ends_with(**end));
                    let answer = answer.map(|(_, body)| Response::new(Bytes::from_static(body.as_bytes())));
                    self.sent.push(request);
                    then((answer.ok_or(MissReason::Unreachable), NOW.parse().unwrap()))
                }
            };
        }
    }
}

fn recorded_request(title: &str) -> Request<Bytes> {
    let found = recorded("tencent-python.txt").into_iter().find(|(named, _)| named.contains(title));
    found.unwrap_or_else(|| panic!("{title}")).1
}

fn shape(request: &Request<Bytes>) -> (String, serde_json::Value) {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let names = ["x-tc-action", "x-tc-version", "x-tc-region", "content-type"];
    (format!("{:?}", names.map(header)), serde_json::from_slice(request.body()).unwrap())
}

#[test]
fn a_role_is_asked_for_as_the_vendors_client_does() {
    let theirs = recorded_request("AssumeRoleWithWebIdentity");
    let parameters: serde_json::Value = serde_json::from_slice(theirs.body()).unwrap();
    let text = |name: &str| parameters[name].as_str().unwrap().to_owned();
    let (provider, arn, session) = (text("ProviderId"), text("RoleArn"), text("RoleSessionName"));
    let token: &'static str = text("WebIdentityToken").leak();
    let mut other = Other::default();
    other.files.insert("/token", token);
    other.answers.insert("/", LENT);
    let duration = format!("{}s", parameters["DurationSeconds"]);
    let settings = [
        ("credentials.kind", "oidc_role"),
        ("credentials.role_arn", &*arn),
        ("credentials.provider_id", &*provider),
        ("credentials.token_file", "/token"),
        ("credentials.session_name", &*session),
        ("credentials.duration", &*duration),
    ];
    let granted = other.fetch(&settings, &[]).unwrap();
    assert_eq!((granted.credential.id(), granted.from), ("AKIDlent", "oidc_role"));
    assert_eq!(shape(&other.sent[0]), shape(&theirs));
    assert_eq!(other.sent[0].headers()["authorization"], "SKIP");

    let theirs = recorded_request("STSAssumeRoleCredential");
    let parameters: serde_json::Value = serde_json::from_slice(theirs.body()).unwrap();
    let (arn, session) = (parameters["RoleArn"].as_str().unwrap(), parameters["RoleSessionName"].as_str().unwrap());
    let settings = [
        ("credentials.kind", "assume_role"),
        ("credentials.role_arn", arn),
        ("credentials.session_name", session),
        ("credentials.secret_id", ID),
        ("credentials.secret_key", KEY),
    ];
    assert_eq!(other.fetch(&settings, &[]).unwrap().credential.id(), "AKIDlent");
    assert_eq!(shape(&other.sent[1]), shape(&theirs));
    let authorization = other.sent[1].headers()["authorization"].to_str().unwrap();
    assert!(authorization.contains("/sts/tc3_request, SignedHeaders=content-type;host"), "{authorization}");
}

#[test]
fn the_metadata_service_is_asked_for_the_role_and_then_for_its_keys() {
    let mut other = Other::default();
    other.answers.insert("/security-credentials/", "idgate-cvm-role");
    other.answers.insert("/security-credentials/idgate-cvm-role", OF_MACHINE);
    let granted = other.fetch(&[("credentials.kind", "cvm_metadata")], &[]).unwrap();
    assert_eq!((granted.credential.id(), granted.ends.unwrap().as_second()), ("AKIDmachine", 4_102_444_800));
    let theirs = recorded_request("CVMRoleCredential");
    assert_eq!(other.sent[0].uri().path(), theirs.uri().path());
    assert_eq!(other.sent[0].uri().host(), Some("metadata.tencentyun.com"));
    for (answer, reason) in [
        ("{}", MissReason::NotSuccess),
        (r#"{"Code":"Success"}"#, MissReason::MissingField),
        ("", MissReason::Garbage),
        ("[]", MissReason::Garbage),
        (
            r#"{"TmpSecretId":"a","TmpSecretKey":"s","ExpiredTime":1,"Token":"t","Code":"Success"}"#,
            MissReason::AlreadyEnded,
        ),
    ] {
        other.answers.insert("/security-credentials/idgate-cvm-role", answer);
        let misses = other.fetch(&[("credentials.kind", "cvm_metadata")], &[]).unwrap_err();
        assert_eq!(misses, [Miss { source: "cvm_metadata", reason, code: None }], "{answer}");
    }
}

#[test]
fn the_chain_is_that_of_the_vendors_clients() {
    let chain = [("credentials.kind", "default_chain")];
    let mut other = Other::default();
    other.files.insert("/root/.tencentcloud/credentials", "[default]\nsecret_id = \"AKIDfile\"\nsecret_key = s\n");
    other.files.insert("/etc/tencentcloud/credentials", "[default]\nsecret_id = AKIDetc\nsecret_key = s\n");
    other.files.insert("/token", "token\n");
    let of = |other: &mut Other, variables: &[(&str, &str)]| {
        other.fetch(&chain, variables).map(|granted| granted.credential.id().to_owned())
    };
    let environment = [("TENCENTCLOUD_SECRET_ID", "AKIDenv"), ("TENCENTCLOUD_SECRET_KEY", "s"), ("HOME", "/root")];
    assert_eq!(of(&mut other, &environment).unwrap(), "AKIDenv");
    assert_eq!(of(&mut other, &environment[1..]).unwrap(), "AKIDfile", "only one of the two is set");
    assert_eq!(of(&mut other, &[]).unwrap(), "AKIDetc");
    other.files.retain(|path, _| *path == "/token");
    other.answers.insert("/security-credentials/", "role");
    other.answers.insert("/security-credentials/role", OF_MACHINE);
    assert_eq!(of(&mut other, &TKE).unwrap(), "AKIDmachine");
    other.answers.clear();
    other.answers.insert("tencentcloudapi.com/", LENT);
    assert_eq!(of(&mut other, &TKE).unwrap(), "AKIDlent");
    other.answers.clear();
    let misses = of(&mut other, &TKE).unwrap_err();
    let sources: Vec<_> = misses.iter().map(|miss| miss.source).collect();
    assert_eq!(sources, ["environment", "profile_file", "cvm_metadata", "oidc_role"]);
}

#[test]
fn a_token_of_the_environment_goes_with_its_key_whatever_its_name() {
    let kind = [("credentials.kind", "environment")];
    let key = [("TENCENTCLOUD_SECRET_ID", "AKIDenv"), ("TENCENTCLOUD_SECRET_KEY", "s")];
    for name in ["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"] {
        let granted = Other::default().fetch(&kind, &[&key[..], &[(name, "token")]].concat()).unwrap();
        assert_eq!(granted.credential.token().map(Secret::expose), Some("token"), "{name}");
    }
    let both = [&key[..], &[("TENCENTCLOUD_TOKEN", "one"), ("TENCENTCLOUD_SESSION_TOKEN", "other")]].concat();
    assert_eq!(source(&kind, &both).unwrap_err(), ["credentials"]);
    assert_eq!(source(&kind, &[]).unwrap_err(), ["credentials.kind"]);
}

#[test]
fn sts_refuses_under_a_good_status_and_its_code_is_told() {
    let mut other = Other::default();
    other.files.insert("/token", "token");
    other.answers.insert(
        "/",
        r#"{"Response":{"Error":{"Code":"AuthFailure.UnauthorizedOperation","Message":"canary"},"RequestId":"r"}}"#,
    );
    let misses = other.fetch(&[("credentials.kind", "oidc_role")], &TKE).unwrap_err();
    let code = Some("AuthFailure.UnauthorizedOperation");
    assert_eq!(misses, [Miss { source: "oidc_role", reason: MissReason::NotSuccess, code }]);
}

#[test]
fn no_secret_shows_in_the_debug_form_of_a_source() {
    let settings = [
        ("credentials.kind", "assume_role"),
        ("credentials.role_arn", "qcs::cam::uin/1:roleName/idv"),
        ("credentials.secret_id", ID),
        ("credentials.secret_key", KEY),
    ];
    let shown = format!("{:?}", source(&settings, &[]).unwrap());
    assert!(!shown.contains(KEY), "{shown}");
}
