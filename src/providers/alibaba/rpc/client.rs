//! Client side of the gateway: requests, signed V1 or V3.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Response};

use super::action::{Action, FORM, Placement, X_ACS_ACCESSKEY_ID, X_ACS_ACTION, X_ACS_SECURITY_TOKEN, X_ACS_VERSION};
use super::reply;
use crate::domain::outcome::Fault;
use crate::domain::personal::Secret;
use crate::domain::verdict::Finding;
use crate::providers::alibaba::schemes::ACCESS_KEY;
use crate::providers::alibaba::{acs3, rpc_v1, seal};
use crate::providers::codec::form;
use crate::providers::{Credential, EncodeError, Endpoint, Pair, Protocol, Stamp};

/// With those that the HTTP client adds. More would double the table, and all of it is wiped.
const MOST_HEADERS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    V1,
    V3,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) action: &'static Action,
    pub(super) signature: Signature,
}

impl Protocol for Client {
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let key = credential.of(&ACCESS_KEY).ok_or(EncodeError::ForeignCredential)?;
        let mut parameters = Vec::with_capacity(16);
        parameters.extend([("IdentifyNum", pair.id_number), ("UserName", pair.name)]);
        parameters.extend(self.action.fixed);
        match self.signature {
            Signature::V1 => self.request_v1(parameters, endpoint, key, stamp),
            Signature::V3 => self.request_v3(parameters, endpoint, key, stamp),
        }
    }

    fn decode_response(&self, _pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault> {
        reply::decode(self.action, response)
    }
}

impl Client {
    fn request_v1(
        &self,
        business: Vec<(&str, &str)>,
        endpoint: &Endpoint,
        key: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let time = seal::time_stamp(stamp.now);
        let mut parameters: Vec<(&str, &str)> = business;
        parameters.extend([
            ("AccessKeyId", key.id()),
            ("Action", self.action.name),
            ("Format", "JSON"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", &stamp.nonce),
            ("SignatureVersion", "1.0"),
            ("Timestamp", &time),
            ("Version", self.action.version),
        ]);
        parameters.extend(key.token().map(Secret::expose).map(|token| ("SecurityToken", token)));
        let signature = rpc_v1::sign("POST", &parameters, key.secret());
        parameters.push((rpc_v1::SIGNATURE, &signature));
        self.request(parameters, endpoint)
    }

    fn request_v3(
        &self,
        business: Vec<(&str, &str)>,
        endpoint: &Endpoint,
        key: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError> {
        let mut request = self.request(business, endpoint)?;
        let headers = request.headers_mut();
        headers.insert(X_ACS_ACTION, HeaderValue::from_static(self.action.name));
        headers.insert(X_ACS_VERSION, HeaderValue::from_static(self.action.version));
        headers.insert(acs3::DATE, HeaderValue::try_from(seal::time_stamp(stamp.now))?);
        headers.insert(acs3::NONCE, HeaderValue::from_str(&stamp.nonce)?);
        if let Some(token) = key.token().map(Secret::expose) {
            let mut token = HeaderValue::from_str(token)?;
            token.set_sensitive(true);
            headers.insert(X_ACS_SECURITY_TOKEN, token);
            headers.insert(X_ACS_ACCESSKEY_ID, HeaderValue::from_str(key.id())?);
        }
        acs3::sign(&mut request, key)?;
        Ok(request)
    }

    /// The request, before the V3 signature or after the V1 signature.
    fn request(&self, mut parameters: Vec<(&str, &str)>, endpoint: &Endpoint) -> Result<Request<Bytes>, EncodeError> {
        parameters.sort_unstable();
        let encoded = form::encode_pairs(parameters);
        let (uri, body, is_form) = match self.action.place {
            Placement::Form => (endpoint.root().clone(), Bytes::from(encoded), true),
            Placement::Query => (endpoint.uri(&["/?", &encoded].concat())?, Bytes::new(), false),
        };
        let mut request = Request::new(body);
        (*request.method_mut(), *request.uri_mut()) = (Method::POST, uri);
        let headers = request.headers_mut();
        headers.reserve(MOST_HEADERS);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if is_form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        }
        // The HTTP client must not set the host, because it is signed as written.
        headers.insert(HOST, endpoint.host().clone());
        Ok(request)
    }
}
