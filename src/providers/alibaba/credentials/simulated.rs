//! Server side of the credential services for the sandbox: STS, the ECS metadata service and a URI helper. Signatures
//! and tokens are checked as the vendor does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::answer::{Keys, StsReply};
use super::imds;
use super::sts::VERSION;
use crate::providers::alibaba::pop_error::{self, PopError};
use crate::providers::alibaba::rpc::gate::{check_token, key, refusal};
use crate::providers::alibaba::rpc_v1;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::codec::form;
use crate::providers::codec::json::{self, Object};
use crate::providers::source::Granted;
use crate::providers::temporary::{Lender, Place};
use crate::providers::{Code, CredentialStore, Stamp};

/// The lifetime of keys where the caller cannot choose it.
const LIFETIME: Duration = Duration::from_hours(1);
const ROLE: &str = "sandbox-role";

/// Serves `AssumeRole`, `AssumeRoleWithOIDC`, the instance role, and a GET that returns keys.
pub const PLACES: &[&Place] = &[&STS, &METADATA, &URI];

static STS: Place = place("sts", "", |request, lender, stamp| {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match read(request, lender.keys(), stamp) {
        Ok(asked) => reply(&lender.lend(Duration::from_secs(asked.seconds)), &stamp.nonce),
        Err(code) => refuse(code, host, &stamp.nonce),
    }
});

static METADATA: Place = place("metadata", "", |request, lender, _| {
    let (method, path) = (request.method(), request.uri().path());
    if *method == Method::PUT && path == imds::TOKEN_PATH {
        let session = lender.session().filter(|_| request.headers().contains_key(imds::TOKEN_TTL_HEADER));
        return session.map_or_else(|| status(StatusCode::NOT_FOUND), plain);
    }
    // A token, if sent, must be one we issued; a request without one is version 1.
    let shown = request.headers().get(imds::TOKEN_HEADER).map(HeaderValue::as_bytes);
    if shown.is_some_and(|shown| !lender.knows_session(shown)) {
        return status(StatusCode::UNAUTHORIZED);
    }
    match path.strip_prefix(imds::ROLES_PATH) {
        Some("") if *method == Method::GET => plain(ROLE.to_owned()),
        Some(role) if *method == Method::GET && role == ROLE => flat(&lender.lend(LIFETIME)),
        _ => status(StatusCode::NOT_FOUND),
    }
});

static URI: Place = place("uri", "/keys", |request, lender, _| match *request.method() {
    Method::GET => flat(&lender.lend(LIFETIME)),
    _ => status(StatusCode::METHOD_NOT_ALLOWED),
});

const fn place(
    name: &'static str,
    path: &'static str,
    answer: fn(&Request<Bytes>, &dyn Lender, &Stamp) -> Response<Bytes>,
) -> Place {
    Place {
        name,
        path,
        scheme: &ACCESS_KEY,
        id_prefix: "STS.",
        secret_member: "AccessKeySecret",
        says_no: "{\"Code\":\"Failed\",\"Message\":\"sandbox\"}",
        answer,
    }
}

fn flat(granted: &Granted) -> Response<Bytes> {
    let keys = Keys { code: Some("Success".to_owned()), ..Keys::of(granted) };
    let mut response = Response::new(Bytes::from(json::write(&keys)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = plain("sandbox".to_owned());
    *response.status_mut() = status;
    response
}

struct AskedSts {
    /// Lifetime, in seconds.
    seconds: u64,
}

/// Parses and authenticates a request; the keys of `AssumeRole` are looked up in `keys`.
///
/// # Errors
/// The error row to reply with.
fn read(request: &Request<Bytes>, keys: &dyn CredentialStore, stamp: &Stamp) -> Result<AskedSts, &'static Code> {
    if !matches!(*request.method(), Method::POST | Method::GET) {
        return Err(&pop_error::METHOD);
    }
    let mut pairs = form::decode_pairs(request.uri().query().unwrap_or_default().as_bytes());
    pairs.extend(form::decode_pairs(request.body()));
    let find = |wanted: &'static str| {
        let found = pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty()).ok_or_else(|| pop_error::missing(wanted))
    };
    if find("Version")? != VERSION {
        return Err(&pop_error::VERSION);
    }
    for name in ["Timestamp", "RoleArn", "RoleSessionName"] {
        find(name)?;
    }
    match find("Action")? {
        "AssumeRole" => {
            let key = key(keys, find("AccessKeyId")?)?;
            find("SignatureNonce")?;
            let signed: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            rpc_v1::verify(request.method().as_str(), &signed, key.secret(), stamp.now).map_err(refusal)?;
            check_token(key.token(), find("SecurityToken").ok())?;
        }
        "AssumeRoleWithOIDC" => {
            find("OIDCProviderArn")?;
            find("OIDCToken")?;
        }
        _ => return Err(&pop_error::ACTION),
    }
    let seconds = find("DurationSeconds").map_or(Ok(3600), |text| text.parse().map_err(|_| &pop_error::INCOMPLETE))?;
    Ok(AskedSts { seconds })
}

/// The response with the issued keys.
fn reply(granted: &Granted, request_id: &str) -> Response<Bytes> {
    let document = StsReply {
        code: None,
        credentials: Some(Object(Keys::of(granted))),
        request_id: Some(request_id.to_ascii_uppercase()),
    };
    answer(StatusCode::OK, json::write(&document))
}

/// The error response.
fn refuse(code: &Code, host: &str, request_id: &str) -> Response<Bytes> {
    let error = PopError {
        request_id: request_id.to_ascii_uppercase().into(),
        host_id: host.into(),
        code: code.code.into(),
        message: code.message.into(),
        recommend: None,
    };
    answer(StatusCode::from_u16(code.status).unwrap_or(StatusCode::BAD_REQUEST), json::write(&error))
}

fn answer(status: StatusCode, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    response
}
