//! What the drivers of cloud-market APIs share: settings, sealing a request, opening one, and the frame of an answer.
//!
//! Invariants: the AppCode and every signature are marked sensitive; `Accept` is set explicitly, because a client that
//! adds its own breaks the signature; the gateway's word about an answer comes before the backend's; a redirect is
//! never a verdict. The only text that is taken from a body is what [`echo`] compares.
//!
//! A driver of another market API brings its [`Route`], its documents and its codes, and calls these functions.

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
    Protocol, ReplyTo, Sample, Scheme, Settings, Stamp, Taken, is_redirect,
};

pub mod echo;

/// The credentials that the market's gateway accepts.
pub const SCHEMES: &[&Scheme] = &[&APP_CODE, &APP_KEY];

/// The samples of every market driver beside its own AppCode.
pub const APP_KEY_SAMPLE: Sample = &[("app_key", "sandboxAppKey"), ("app_secret", "sandboxAppSecret")];

/// The same with the older algorithm.
pub const OLD_ALGORITHM_SAMPLE: Sample =
    &[("app_key", "sandboxAppKey"), ("app_secret", "sandboxAppSecret"), ("signature_method", "HmacSHA1")];

/// The settings that hold secrets.
const SECRETS: &[&str] = &["app_code", "app_secret"];

/// The settings that do not.
const PLAIN: &[&str] = &["app_key", "signature_method"];

/// What stands before an AppCode in its header.
const SHOWS_APP_CODE: &str = "APPCODE ";

/// The one operation of a market API.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, without a query.
    pub path: &'static str,
}

/// Reads the settings that every market API has: `app_code`, or `app_key` and `app_secret` with `signature_method`.
///
/// # Errors
/// Every mistake, as (key, what to do).
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

/// Authenticates a request. This is the last step: the request must not change afterwards.
///
/// # Errors
/// When the credential is not one of the market's, or cannot be a header.
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

/// Admits a request as the gateway does: path, method, credential, nonce.
///
/// # Errors
/// The row of the gateway's own table that says why not.
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

/// The AppCode in the query, where few take it.
fn query_app_code(request: &Request<Bytes>) -> Option<Cow<'_, str>> {
    let pairs = form_urlencoded::parse(request.uri().query()?.as_bytes());
    pairs.into_iter().find(|(name, _)| name == "AppCode").map(|(_, value)| value)
}

/// How surely `request` is meant for the operation of `route`.
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

/// The pair among the `parameters` of a query or form; what is missing is empty, as for the providers themselves.
pub fn asked(parameters: &[u8], name: &str, id_number: &str) -> Asked {
    let pairs = form::decode_pairs(parameters);
    let value = |wanted: &str| {
        let found = pairs.iter().find(|(name, _)| name == wanted);
        Personal::new(found.map(|(_, value)| value.as_str()).unwrap_or_default())
    };
    Asked { name: value(name), id_number: value(id_number) }
}

/// What the answer to `request` repeats.
pub fn reply_to(request: &Request<Bytes>, asked: Asked, stamp: &Stamp) -> ReplyTo {
    let header = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(header).unwrap_or_default();
    ReplyTo { request_id: stamp.nonce.to_uppercase(), host: host.to_owned(), asked: Some(asked), ..ReplyTo::default() }
}

/// Reads an answer: the gateway's error first, then redirects, then the backend's status and body through `read`.
///
/// # Errors
/// The fault, with the gateway's reference for the call.
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
            let retry_after = fault.retry_after.or_else(|| market_error::retry_after(response.headers()));
            Err(Fault { request_id, retry_after, ..fault })
        }
    }
}

/// A document of the backend, through the gateway.
pub fn document(status: u16, reply: &impl Serialize, reply_to: &ReplyTo) -> Response<Bytes> {
    // Serialising plain fields into memory cannot fail.
    let mut response = Response::new(Bytes::from(serde_json::to_vec(reply).unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    market_error::finish(headers, reply_to, None);
    response
}

/// What goes with a verdict about the person: what `reply_to` has, or what follows from the number alone.
pub fn person(reply_to: &ReplyTo) -> Cow<'_, PersonDetails> {
    let of_number = || reply_to.asked.as_ref().map(|asked| PersonDetails::of_number(asked.id_number.expose()));
    match &reply_to.person {
        Some(person) => Cow::Borrowed(person),
        None => Cow::Owned(of_number().unwrap_or_default()),
    }
}

/// Whether `name` is one by our own rules, which is what the simulator takes the providers' undocumented ones to be.
pub fn is_a_name(name: &str) -> bool {
    Name::parse(name).is_ok()
}

/// Whether `number` is an ID number by our own rules, at `now`.
pub fn is_a_number(number: &str, now: Timestamp) -> bool {
    IdNumber::parse(number, Clock::fixed(now).today_in_china(), Calendar::Lenient).is_ok()
}
