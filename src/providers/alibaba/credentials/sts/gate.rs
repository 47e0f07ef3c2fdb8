//! STS from the other side, for a simulator: reading a request as the vendor does, and writing the answer.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use super::VERSION;
use crate::providers::alibaba::credentials::answer::{Keys, StsReply};
use crate::providers::alibaba::json::{self, Object};
use crate::providers::alibaba::pop_error::{self, PopError};
use crate::providers::alibaba::rpc::gate::{check_token, key, refusal};
use crate::providers::alibaba::{form, rpc_v1};
use crate::providers::source::Granted;
use crate::providers::{Code, Keyring, Stamp};

/// What a believed request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedSts {
    /// `AssumeRole` or `AssumeRoleWithOIDC`.
    pub action: &'static str,
    /// For how long, in seconds.
    pub seconds: u64,
}

/// Reads a request; the keys of `AssumeRole` are looked up in `keys`.
///
/// # Errors
/// The row that refuses it.
pub fn read(request: &Request<Bytes>, keys: &dyn Keyring, stamp: &Stamp) -> Result<AskedSts, &'static Code> {
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
    let action = match find("Action")? {
        "AssumeRole" => {
            let (secret, token) = key(keys, find("AccessKeyId")?)?;
            find("SignatureNonce")?;
            let signed: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            rpc_v1::verify(request.method().as_str(), &signed, secret, stamp.now).map_err(refusal)?;
            check_token(token, find("SecurityToken").ok())?;
            "AssumeRole"
        }
        "AssumeRoleWithOIDC" => {
            find("OIDCProviderArn")?;
            find("OIDCToken")?;
            "AssumeRoleWithOIDC"
        }
        _ => return Err(&pop_error::ACTION),
    };
    let seconds = find("DurationSeconds").map_or(Ok(3600), |text| text.parse().map_err(|_| &pop_error::INCOMPLETE))?;
    Ok(AskedSts { action, seconds })
}

/// The answer that hands out `granted`.
pub fn reply(granted: &Granted, request_id: &str) -> Response<Bytes> {
    let document = StsReply {
        code: None,
        credentials: Some(Object(Keys::of(granted))),
        request_id: Some(request_id.to_ascii_uppercase()),
    };
    answer(StatusCode::OK, json::write(&document))
}

/// The answer that refuses.
pub fn refuse(code: &Code, host: &str, request_id: &str) -> Response<Bytes> {
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
