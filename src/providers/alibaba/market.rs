//! Shared by the drivers of cloud-market APIs: settings, signing and authenticating requests, reading and writing
//! responses.
//!
//! Invariants: the AppCode and every signature are marked sensitive. `Accept` is set explicitly, because a client that
//! adds its own breaks the signature. The gateway's error takes precedence over the backend's. A redirect is never a
//! verdict. The only text taken from a body is what [`echo`] compares.
//!
//! A driver of another market API defines its [`Route`], its documents and its codes, and calls these functions.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::market_error;
use super::schemes::{APP_CODE, APP_KEY};
use super::x_ca::{self, Algorithm, Broken};
use crate::domain::clock::Clock;
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::name::Name;
use crate::domain::outcome::Fault;
use crate::domain::personal::Personal;
use crate::domain::verdict::{Finding, Verdict};
use crate::providers::codec::form;
use crate::providers::dialect::Addressed;
use crate::providers::{
    Access, Asked, Code, Configured, Credential, CredentialStore, EncodeError, Mistakes, PersonDetails, Presented,
    Protocol, ReplyTo, Sample, Scheme, Settings, Stamp, Taken, is_redirect, retry_after,
};

pub mod echo;

pub const SCHEMES: &[&Scheme] = &[&APP_CODE, &APP_KEY];

/// The sample credentials of every market driver except its own AppCode.
pub const APP_KEY_SAMPLE: Sample = &[("app_key", "sandboxAppKey"), ("app_secret", "sandboxAppSecret")];

pub const OLD_ALGORITHM_SAMPLE: Sample =
    &[("app_key", "sandboxAppKey"), ("app_secret", "sandboxAppSecret"), ("signature_method", "HmacSHA1")];

const SECRETS: &[&str] = &["app_code", "app_secret"];

const PLAIN: &[&str] = &["app_key", "signature_method"];

/// The prefix of an AppCode in its header.
const SHOWS_APP_CODE: &str = "APPCODE ";

/// The single operation of a market API.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    /// The path, without a query.
    pub path: &'static str,
}

/// Reads the settings common to all market APIs: `app_code`, or `app_key` and `app_secret` with `signature_method`.
///
/// # Errors
/// Every mistake, as (key, fix).
pub fn configure(
    settings: &Settings,
    protocol: impl FnOnce(Algorithm) -> Arc<dyn Protocol>,
) -> Result<Configured, Mistakes> {
    let mut mistakes = Vec::new();
    let unknown_plain = settings.plain.keys().filter(|key| !PLAIN.contains(&key.as_str()));
    let unknown_secret = settings.secret.keys().filter(|key| !SECRETS.contains(&key.as_str()));
    for key in unknown_plain.chain(unknown_secret) {
        mistakes.push(("driver", format!("takes no `{key}`; it takes app_code, or app_key and app_secret")));
    }
    let method = settings.plain.get("signature_method").map(String::as_str);
    let algorithm = method.map_or(Some(Algorithm::default()), Algorithm::parse);
    if algorithm.is_none() {
        mistakes.push(("signature_method", "must be \"HmacSHA256\" or \"HmacSHA1\"".to_owned()));
    }
    let app_code = settings.secret.get("app_code");
    let app_key = settings.plain.get("app_key");
    let app_secret = settings.secret.get("app_secret");
    for (key, value) in [
        ("app_code", app_code.map(|secret| secret.expose())),
        ("app_key", app_key.map(String::as_str)),
        ("app_secret", app_secret.map(|secret| secret.expose())),
    ] {
        if value.is_some_and(|text| text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic())) {
            mistakes.push((key, "must be visible ASCII characters, without spaces".to_owned()));
        }
    }
    let credential = match (app_code, app_key, app_secret) {
        (Some(code), None, None) => Some(Credential::bearer(&APP_CODE, code.clone())),
        (None, Some(key), Some(secret)) => Some(Credential::new(&APP_KEY, key, secret.clone())),
        (Some(_), _, _) => {
            mistakes.push(("app_code", "excludes app_key and app_secret; remove one or the other".to_owned()));
            None
        }
        (None, None, None) => {
            mistakes.push(("app_code", "is missing; set it, or app_key and app_secret".to_owned()));
            None
        }
        (None, None, Some(_)) => {
            mistakes.push(("app_key", "is missing; app_secret needs it".to_owned()));
            None
        }
        (None, Some(_), None) => {
            mistakes.push(("app_secret", "is missing; app_key needs it".to_owned()));
            None
        }
    };
    match (algorithm, credential) {
        (Some(algorithm), Some(credential)) if mistakes.is_empty() => {
            Ok(Configured { protocol: protocol(algorithm), access: Access::Given(credential) })
        }
        _ => Err(mistakes),
    }
}

/// Authenticates a request. This must be the last step: a later change would invalidate the signature.
///
/// # Errors
/// When the credential is of another kind, or is not a valid header value.
pub fn seal(
    mut request: Request<Bytes>,
    algorithm: Algorithm,
    credential: &Credential,
    stamp: &Stamp,
) -> Result<Request<Bytes>, EncodeError> {
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(code) = credential.of(&APP_CODE) {
        let text = Zeroizing::new(format!("{SHOWS_APP_CODE}{}", code.secret().expose()));
        let mut value = HeaderValue::from_str(&text)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    } else {
        let key = credential.of(&APP_KEY).ok_or(EncodeError::ForeignCredential)?;
        x_ca::sign(&mut request, key.id(), key.secret(), algorithm, stamp)?;
    }
    Ok(request)
}

/// Checks a request as the gateway does: path, method, credential, nonce.
///
/// # Errors
/// The matching row of the gateway's error table.
pub fn open(
    request: &Request<Bytes>,
    route: &Route,
    keys: &dyn CredentialStore,
    now: Timestamp,
) -> Result<(), &'static Code> {
    if request.uri().path() != route.path {
        return Err(&market_error::NO_SUCH_API);
    }
    if request.method() != route.method {
        return Err(&market_error::NO_SUCH_METHOD);
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let in_query = || query_app_code(request).filter(|_| keys.takes_secrets_from_url());
    let in_header = header(AUTHORIZATION).and_then(|text| text.strip_prefix(SHOWS_APP_CODE));
    if let Some(code) = in_header.map(Cow::Borrowed).or_else(in_query) {
        let found = keys.find(Presented::new(&APP_CODE, &code));
        return found.map(drop).ok_or(&market_error::UNKNOWN_APP_CODE);
    }
    let presented = Presented::new(&APP_KEY, header(x_ca::KEY).ok_or(&market_error::NO_CREDENTIAL)?);
    let key = keys.find(presented).ok_or(&market_error::UNKNOWN_APP_KEY)?;
    let seen = x_ca::verify(request, key.secret(), now).map_err(|broken| match broken {
        Broken::InvalidTimestamp => &market_error::INVALID_TIMESTAMP,
        Broken::Expired => &market_error::TIMESTAMP_EXPIRED,
        Broken::EmptySignature => &market_error::EMPTY_SIGNATURE,
        Broken::WrongSignature => &market_error::WRONG_SIGNATURE,
        Broken::WrongContentMd5 => &market_error::WRONG_CONTENT_MD5,
    })?;
    match keys.take_nonce(presented, seen.nonce, seen.until) {
        Taken::New => Ok(()),
        Taken::Seen => Err(&market_error::NONCE_USED),
        Taken::NoRoom => Err(&market_error::THROTTLED),
    }
}

/// The AppCode from the query, which few APIs accept.
fn query_app_code(request: &Request<Bytes>) -> Option<Cow<'_, str>> {
    let pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == "AppCode").map(|(_, value)| value)
}

/// How likely `request` addresses the operation of `route`.
pub fn addressed(route: &Route, request: &Request<Bytes>) -> Addressed {
    let headers = request.headers();
    let has_app_code =
        || headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(SHOWS_APP_CODE.as_bytes()));
    match request.uri().path().strip_prefix(route.path) {
        Some("") => Addressed::ByName,
        Some(below) if below.starts_with('/') => Addressed::ByPath,
        _ if has_app_code() || headers.contains_key(x_ca::KEY) => Addressed::ByProof,
        _ => Addressed::No,
    }
}

/// The name and number in the `parameters` of a query or form. A missing one is empty, as the providers treat it.
pub fn asked(parameters: &[u8], name: &str, id_number: &str) -> Asked {
    let pairs = form::decode_pairs(parameters);
    let value = |wanted: &str| {
        let found = pairs.iter().find(|(name, _)| name == wanted);
        Personal::new(found.map(|(_, value)| value.as_str()).unwrap_or_default())
    };
    Asked { name: value(name), id_number: value(id_number) }
}

/// The personal data echoed in the response to `request`.
pub fn reply_to(request: &Request<Bytes>, asked: Asked, stamp: &Stamp) -> ReplyTo {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(header).unwrap_or_default();
    ReplyTo { request_id: stamp.nonce.to_uppercase(), host: host.to_owned(), asked: Some(asked), ..ReplyTo::default() }
}

/// Reads a response: the gateway's error first, then redirects, then the backend's status and body through `read`.
///
/// # Errors
/// The fault, with the gateway's call reference.
pub fn decode(
    response: &Response<Bytes>,
    read: impl FnOnce(StatusCode, &[u8]) -> Result<Verdict, Fault>,
) -> Result<Finding, Fault> {
    let status = response.status();
    let request_id = market_error::request_id(response.headers());
    let verdict = match market_error::fault(response) {
        Some(fault) => Err(fault),
        None if is_redirect(status) => Err(market_error::by_status(status)),
        None => read(status, response.body()),
    };
    match verdict {
        Ok(verdict) => Ok(Finding { verdict, request_id }),
        Err(fault) => {
            let retry_after = fault.retry_after.or_else(|| retry_after(response.headers(), None));
            Err(Fault { request_id, retry_after, ..fault })
        }
    }
}

/// A backend document, sent through the gateway.
pub fn document(status: u16, reply: &impl Serialize, reply_to: &ReplyTo) -> Response<Bytes> {
    // Serialising plain fields into memory cannot fail.
    let mut response = Response::new(Bytes::from(serde_json::to_vec(reply).unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    market_error::finish(headers, reply_to, None);
    response
}

/// The details of a verdict: those of `reply_to`, or those derived from the number.
pub fn person(reply_to: &ReplyTo) -> Cow<'_, PersonDetails> {
    let of_number = || reply_to.asked.as_ref().map(|asked| PersonDetails::of_number(asked.id_number.expose()));
    match &reply_to.person {
        Some(person) => Cow::Borrowed(person),
        None => Cow::Owned(of_number().unwrap_or_default()),
    }
}

/// Whether `name` is valid by our rules. The simulator uses them because the providers' rules are undocumented.
pub fn is_a_name(name: &str) -> bool {
    Name::parse(name).is_ok()
}

/// Whether `number` is a valid ID number by our rules, at `now`.
pub fn is_a_number(number: &str, now: Timestamp) -> bool {
    IdNumber::parse(number, Clock::fixed(now).today_in_china(), Calendar::Lenient).is_ok()
}
