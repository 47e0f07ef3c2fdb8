//! Parses and authenticates a request as the service does: TC3 with a JSON body or a query, or one of the older
//! signatures with all parameters in a form or query.
//!
//! The first failing check determines the error: method, path, action, version, authorization, key, token, time stamp,
//! signature, parameters. Repeated requests are not detected: the protocol has no unique nonce, two requests of one
//! second can be identical, and the service is not known to reject repeats.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use http::{Method, Request};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::client::{ACTION, SERVICE, VERSION, X_TC_ACTION, X_TC_TOKEN, X_TC_VERSION};
use super::codes;
use super::scheme::SECRET_KEY;
use super::tc3::{self, Flaw, only};
use super::v1;
use crate::domain::clock::Clock;
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::name::Name;
use crate::domain::personal::Personal;
use crate::providers::codec::json::Object;
use crate::providers::codec::{form, hmac};
use crate::providers::dialect::Addressed;
use crate::providers::{Asked, Code, Credential, CredentialStore, Presented, Refusal, ReplyTo, Stamp};

const FORM: &str = "application/x-www-form-urlencoded";
/// The header by which the vendor's clients can leave the body unsigned.
const CONTENT_SHA256: &str = "x-tc-content-sha256";
/// The suffix of the vendor's own hosts.
const VENDOR: &str = ".tencentcloudapi.com";
/// Public parameters of the older protocol.
const PUBLIC: [&str; 11] = [
    "Action",
    "Version",
    "SecretId",
    "Timestamp",
    "Nonce",
    "SignatureMethod",
    v1::SIGNATURE,
    "Region",
    "Token",
    "Language",
    "RequestClient",
];

/// The check that `request` asks for, or the error; and the format of the response.
pub(super) fn decode(
    request: &Request<Bytes>,
    keys: &dyn CredentialStore,
    stamp: &Stamp,
) -> (Result<Asked, Refusal>, ReplyTo) {
    let call = Call::read(request);
    let asked = call.admitted(keys, stamp.now).map_err(Refusal::from);
    let reply_to = ReplyTo {
        request_id: stamp.nonce.clone(),
        host: call.host().to_owned(),
        asked: call.question().ok(),
        ..ReplyTo::default()
    };
    (asked, reply_to)
}

/// How likely `request` addresses the service. Other clouds use the same path, but none of these markers.
pub(super) fn addressed(request: &Request<Bytes>) -> Addressed {
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let body: &[u8] = if is_form(headers) { request.body() } else { b"" };
    let mut names = form_urlencoded::parse(query).chain(form_urlencoded::parse(body)).map(|(name, _)| name);
    let is_ours = headers.contains_key(X_TC_ACTION)
        || headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"TC3-"))
        || names.any(|name| name == "SecretId");
    match (is_ours, request.uri().path()) {
        (false, _) => Addressed::No,
        (true, "/") => Addressed::ByName,
        (true, _) => Addressed::ByProof,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()?.trim_start().get(..FORM.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(FORM))
}

/// A parsed request; nothing is verified yet.
struct Call<'a> {
    request: &'a Request<Bytes>,
    parameters: Vec<(String, String)>,
    is_v1: bool,
}

impl<'a> Call<'a> {
    fn read(request: &'a Request<Bytes>) -> Self {
        let mut parameters = form::decode_pairs(request.uri().query().unwrap_or_default().as_bytes());
        if is_form(request.headers()) {
            parameters.extend(form::decode_pairs(request.body()));
        }
        let has_tc3 = request.headers().contains_key(AUTHORIZATION) || request.headers().contains_key(X_TC_ACTION);
        let is_v1 = !has_tc3 && parameters.iter().any(|(name, _)| name == "SecretId");
        Self { request, parameters, is_v1 }
    }

    fn admitted(&self, keys: &dyn CredentialStore, now: Timestamp) -> Result<Asked, &'static Code> {
        if !matches!(*self.request.method(), Method::POST | Method::GET) {
            return Err(&codes::METHOD);
        }
        if self.request.uri().path() != "/" {
            return Err(&codes::ACTION);
        }
        if self.public(X_TC_ACTION.as_str(), "Action")? != ACTION {
            return Err(&codes::ACTION);
        }
        if self.public(X_TC_VERSION.as_str(), "Version")? != VERSION {
            return Err(&codes::VERSION);
        }
        let secret_id = if self.is_v1 { self.verified_v1(keys, now)? } else { self.verified_tc3(keys, now)? };
        let presented = Presented::new(&SECRET_KEY, secret_id);
        if keys.has_ended(presented) {
            return Err(&codes::TOKEN);
        }
        keys.authenticated(presented);
        let asked = self.question()?;
        objection(&asked, now).map(|()| asked)
    }

    fn verified_tc3(&self, keys: &dyn CredentialStore, now: Timestamp) -> Result<&str, &'static Code> {
        let headers = self.request.headers();
        let authorization = tc3::Authorization::read(headers).ok_or(&codes::INVALID_AUTHORIZATION)?;
        let key = key(keys, authorization.secret_id, only(headers, X_TC_TOKEN.as_str()))?;
        // On other hosts, callers sign the first label of the host they were given.
        let is_vendors = self.host().ends_with(VENDOR);
        // No client leaves the body unsigned by default, and it would leave name and number unprotected.
        if headers.contains_key(CONTENT_SHA256) || is_vendors && authorization.service != SERVICE {
            return Err(&codes::SIGNATURE);
        }
        tc3::verify(self.request, authorization, key.secret(), now).map_err(|flaw| match flaw {
            Flaw::Form => &codes::INVALID_AUTHORIZATION,
            Flaw::Expired => &codes::EXPIRED,
            Flaw::Mismatch => &codes::SIGNATURE,
        })?;
        Ok(authorization.secret_id)
    }

    fn verified_v1(&self, keys: &dyn CredentialStore, now: Timestamp) -> Result<&str, &'static Code> {
        let needed = |name| self.parameter(name).ok_or(&codes::MISSING);
        let secret_id = needed("SecretId")?;
        let key = key(keys, secret_id, self.parameter("Token"))?;
        let (seconds, presented) = (needed("Timestamp")?, needed(v1::SIGNATURE)?);
        needed("Nonce")?;
        let seconds = tc3::seconds_of(seconds).ok_or(&codes::INVALID)?;
        if now.as_second().abs_diff(seconds) > tc3::WINDOW.as_secs().unsigned_abs() {
            return Err(&codes::EXPIRED);
        }
        let algorithm = self.parameter("SignatureMethod").unwrap_or("HmacSHA1");
        let without_port = self.host().rsplit_once(':').map(|(host, _)| host);
        for host in std::iter::once(self.host()).chain(without_port) {
            let text = v1::string_to_sign(self.request.method().as_str(), host, &self.parameters);
            let expected = v1::sign(algorithm, key.secret(), &text).ok_or(&codes::INVALID)?;
            if hmac::is_equal(expected.as_bytes(), presented.as_bytes()) {
                return Ok(secret_id);
            }
        }
        Err(&codes::SIGNATURE)
    }

    /// A header, or its parameter in the older protocol.
    fn public(&self, header: &str, parameter: &str) -> Result<&str, &'static Code> {
        let found = if self.is_v1 { self.parameter(parameter) } else { only(self.request.headers(), header) };
        found.filter(|text| !text.is_empty()).ok_or(&codes::MISSING)
    }

    fn parameter(&self, wanted: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    fn host(&self) -> &str {
        let authority = self.request.uri().authority().map(|authority| authority.as_str());
        only(self.request.headers(), HOST.as_str()).or(authority).unwrap_or_default()
    }

    /// The pair, from the query or the body.
    fn question(&self) -> Result<Asked, &'static Code> {
        if self.is_v1 || *self.request.method() == Method::GET {
            self.question_in_parameters()
        } else {
            question_in_body(self.request.body())
        }
    }

    fn question_in_parameters(&self) -> Result<Asked, &'static Code> {
        let (mut name, mut id_card) = (None, None);
        for (key, value) in &self.parameters {
            let member = match key.as_str() {
                "Name" => &mut name,
                "IdCard" => &mut id_card,
                key if key == "Encryption" || key.starts_with("Encryption.") => return Err(&codes::ENCRYPTED),
                key if self.is_v1 && PUBLIC.contains(&key) => continue,
                _ => return Err(&codes::UNKNOWN_PARAMETER),
            };
            if member.replace(Personal::new(value.as_str())).is_some() {
                return Err(&codes::INVALID);
            }
        }
        asked(name, id_card)
    }
}

fn question_in_body(body: &[u8]) -> Result<Asked, &'static Code> {
    /// Members accept any type: which one is wrong determines the error.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Members {
        name: Option<Value>,
        id_card: Option<Value>,
        encryption: Option<Value>,
        #[serde(flatten)]
        others: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    }
    let text = std::str::from_utf8(body).map_err(|_| &codes::INVALID)?;
    let Object(members) = serde_json::from_str::<Object<Members>>(text).map_err(|_| &codes::INVALID)?;
    if members.encryption.is_some() {
        return Err(&codes::ENCRYPTED);
    }
    if !members.others.is_empty() {
        return Err(&codes::UNKNOWN_PARAMETER);
    }
    let text = |value: Option<Value>| match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Personal::new(text))),
        Some(_) => Err(&codes::INVALID),
    };
    asked(text(members.name)?, text(members.id_card)?)
}

fn asked(name: Option<Personal>, id_number: Option<Personal>) -> Result<Asked, &'static Code> {
    match (name, id_number) {
        (Some(name), Some(id_number)) => Ok(Asked { name, id_number }),
        _ => Err(&codes::MISSING),
    }
}

/// Validates a pair. The service's rules are not documented, so our own are used.
fn objection(asked: &Asked, now: Timestamp) -> Result<(), &'static Code> {
    let today = Clock::fixed(now).today_in_china();
    if IdNumber::parse(asked.id_number.expose(), today, Calendar::Lenient).is_err() {
        return Err(&codes::BAD_NUMBER);
    }
    Name::parse(asked.name.expose()).map(drop).map_err(|_| &codes::BAD_NAME)
}

/// The key of that id, if the presented token is the key's.
fn key<'k>(keys: &'k dyn CredentialStore, id: &str, token: Option<&str>) -> Result<&'k Credential, &'static Code> {
    let key = keys.find(Presented::new(&SECRET_KEY, id)).ok_or(&codes::UNKNOWN_KEY)?;
    let is_right = match (key.token(), token) {
        (None, None) => true,
        (Some(known), Some(shown)) => known.matches(shown.as_bytes()),
        _ => false,
    };
    is_right.then_some(key).ok_or(&codes::TOKEN)
}
