//! STS issues temporary role keys. `AssumeRole` is signed (V1) with other keys; `AssumeRoleWithOIDC` is not signed
//! because the token is the proof.
//!
//! Invariant: all parameters are sent in the form body. The vendor's Python client puts the token into the URL, where
//! access logs record it; the Go client and ours do not.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::answer::Keys;
use crate::domain::personal::Secret;
use crate::providers::alibaba::rpc::FORM;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::alibaba::{pop_error, rpc_v1, seal};
use crate::providers::codec::{form, json, text};
use crate::providers::source::{Ask, Granted, MissReason, Step};
use crate::providers::{Credential, EncodeError, Endpoint, Stamp};

pub(super) const VERSION: &str = "2015-04-01";
/// The vendor's clients wait at most 5 s to connect and 10 s to read.
const LIMIT: Duration = Duration::from_secs(15);

/// A role to assume.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The session name, shown in the cloud's audit log.
    pub session: String,
    /// The lifetime of its keys.
    pub duration: Duration,
    /// A policy that restricts the keys further.
    pub policy: Option<String>,
    /// The external id that the role's owner requires of third parties.
    pub external_id: Option<String>,
    pub endpoint: Endpoint,
}

/// Requests the keys of `role` with the `base` keys.
pub(super) fn assume_role(source: &'static str, role: Role, base: Granted) -> Step {
    let compose = move |stamp: &Stamp| signed(&role, &base.credential, stamp);
    Step::ask(source, ask(compose), move |body, now| Keys::read_sts(body)?.granted(source, now).map(Step::Done))
}

/// Reads the token and requests the keys of `role` with it. Kubernetes rotates the file, so it is read for each
/// request.
pub(super) fn assume_role_with_oidc(source: &'static str, role: Role, provider_arn: String, token: PathBuf) -> Step {
    Step::read(source, token, move |content| {
        let token = text::utf8(&content).map(str::trim).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Step::failed(source, MissReason::FileForm);
        }
        let token = Secret::new(token);
        let compose = move |stamp: &Stamp| with_token(&role, &provider_arn, &token, stamp);
        Step::ask(source, ask(compose), move |body, now| Keys::read_sts(body)?.granted(source, now).map(Step::Done))
    })
}

fn ask(compose: impl FnOnce(&Stamp) -> Result<Request<Bytes>, EncodeError> + Send + 'static) -> Ask {
    Ask { compose: Box::new(compose), limit: LIMIT, is_local: false, explain }
}

/// The code of an STS error. The message is not read because it may contain a key.
fn explain(body: &[u8]) -> Option<&'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Refused {
        code: String,
    }
    json::read::<Refused>(body).and_then(|refused| pop_error::row(&refused.code)).map(|row| row.code)
}

/// The request of `AssumeRole`.
///
/// # Errors
/// When the credential is no AccessKey, or the parts do not form a valid request.
pub fn signed(role: &Role, base: &Credential, stamp: &Stamp) -> Result<Request<Bytes>, EncodeError> {
    let key = base.of(&ACCESS_KEY).ok_or(EncodeError::ForeignCredential)?;
    let (time, seconds) = (seal::time_stamp(stamp.now), role.duration.as_secs().to_string());
    let mut parameters = role.parameters("AssumeRole", &time, &seconds);
    parameters.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
    parameters.extend([
        ("AccessKeyId", key.id()),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &stamp.nonce),
        ("SignatureVersion", "1.0"),
    ]);
    parameters.extend(key.token().map(|token| ("SecurityToken", token.expose())));
    let signature = rpc_v1::sign("POST", &parameters, key.secret());
    parameters.push((rpc_v1::SIGNATURE, &signature));
    request(&role.endpoint, parameters)
}

/// The request of `AssumeRoleWithOIDC`.
///
/// # Errors
/// When the parts do not form a valid request.
pub fn with_token(
    role: &Role,
    provider_arn: &str,
    token: &Secret,
    stamp: &Stamp,
) -> Result<Request<Bytes>, EncodeError> {
    let (time, seconds) = (seal::time_stamp(stamp.now), role.duration.as_secs().to_string());
    let mut parameters = role.parameters("AssumeRoleWithOIDC", &time, &seconds);
    parameters.extend([("OIDCProviderArn", provider_arn), ("OIDCToken", token.expose())]);
    request(&role.endpoint, parameters)
}

impl Role {
    fn parameters<'a>(&'a self, action: &'a str, time: &'a str, seconds: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut parameters = vec![
            ("Action", action),
            ("DurationSeconds", seconds),
            ("Format", "JSON"),
            ("RoleArn", &self.arn),
            ("RoleSessionName", &self.session),
            ("Timestamp", time),
            ("Version", VERSION),
        ];
        parameters.extend(self.policy.as_deref().map(|policy| ("Policy", policy)));
        parameters
    }
}

fn request(endpoint: &Endpoint, mut parameters: Vec<(&str, &str)>) -> Result<Request<Bytes>, EncodeError> {
    parameters.sort_unstable();
    let body = Zeroizing::new(form::encode_pairs(parameters));
    Ok(Request::post(endpoint.uri("/")?)
        .header(HOST, endpoint.authority())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, FORM)
        .body(Bytes::copy_from_slice(body.as_bytes()))?)
}
