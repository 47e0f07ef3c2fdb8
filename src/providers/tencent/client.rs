//! The request as we send it: a JSON body, signed TC3, like the vendor's clients.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Request, Response};

use super::scheme::SECRET_KEY;
use super::wire::Question;
use super::{reply, tc3};
use crate::domain::outcome::Fault;
use crate::domain::verdict::Finding;
use crate::providers::codec::json;
use crate::providers::{Credential, EncodeError, Endpoint, Pair, Protocol, Stamp};

/// The action, its version and its service.
pub(super) const ACTION: &str = "IdCardVerification";
pub(super) const VERSION: &str = "2018-03-01";
pub(super) const SERVICE: &str = "faceid";

pub(super) const X_TC_ACTION: HeaderName = HeaderName::from_static("x-tc-action");
pub(super) const X_TC_VERSION: HeaderName = HeaderName::from_static("x-tc-version");
pub(super) const X_TC_REGION: HeaderName = HeaderName::from_static("x-tc-region");
pub(super) const X_TC_TOKEN: HeaderName = HeaderName::from_static("x-tc-token");
/// The vendor's support asks for it together with the RequestId.
const X_TC_TRACE_ID: HeaderName = HeaderName::from_static("x-tc-traceid");
/// Signed exactly as written.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Debug)]
pub(super) struct Client {
    /// Sent if configured; the action does not need it.
    pub(super) region: Option<String>,
}

impl Protocol for Client {
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let key = credential.of(&SECRET_KEY).ok_or(EncodeError::ForeignCredential)?;
        let body = json::write(&Question { id_card: pair.id_number, name: pair.name });
        let mut request = call(endpoint, (ACTION, VERSION), stamp, self.region.as_deref(), body)?;
        if let Some(token) = key.token() {
            let mut token = HeaderValue::from_str(token.expose())?;
            token.set_sensitive(true);
            request.headers_mut().insert(X_TC_TOKEN, token);
        }
        tc3::sign(&mut request, key.id(), key.secret(), SERVICE, stamp.now)?;
        Ok(request)
    }

    fn decode_response(&self, _pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault> {
        reply::decode(response)
    }
}

/// A request for an action, not signed yet.
pub(super) fn call(
    endpoint: &Endpoint,
    (action, version): (&'static str, &'static str),
    stamp: &Stamp,
    region: Option<&str>,
    body: String,
) -> Result<Request<Bytes>, EncodeError> {
    let mut request = Request::post(endpoint.root())
        .header(HOST, endpoint.host())
        .header(CONTENT_TYPE, JSON)
        .header(X_TC_ACTION, action)
        .header(X_TC_VERSION, version)
        .header(tc3::TIMESTAMP, stamp.now.as_second())
        .header(X_TC_TRACE_ID, &stamp.nonce)
        .body(Bytes::from(body))?;
    if let Some(region) = region {
        request.headers_mut().insert(X_TC_REGION, HeaderValue::from_str(region)?);
    }
    Ok(request)
}
