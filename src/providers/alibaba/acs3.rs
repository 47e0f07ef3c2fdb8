//! The newer signature of the RPC gateway, ACS3-HMAC-SHA256: over method, path, query, chosen headers and the body's
//! hash.
//!
//! Invariant: [`sign`] and [`verify`] read the same request through the same [`canonical_request`], and nothing that
//! the gateway acts on may stay unsigned: `host`, `content-type` and every `x-acs-…` header that is there. Headers
//! that proxies and HTTP clients like to rewrite (`accept`, `user-agent`) are not signed by us, yet may be by others.

use std::fmt;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::seal::{self, Flaw};
use crate::domain::personal::Secret;
use crate::providers::EncodeError;
use crate::providers::codec::{form, hex, hmac};

/// Names the scheme in the `Authorization` header.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// The header with the time stamp.
pub const DATE: HeaderName = HeaderName::from_static("x-acs-date");
/// The header with the value that makes a request unique.
pub const NONCE: HeaderName = HeaderName::from_static("x-acs-signature-nonce");
/// The header with the hash of the body, in lower-case hex.
pub const BODY_HASH: HeaderName = HeaderName::from_static("x-acs-content-sha256");

/// Who signed, which headers, and the result: the `Authorization` header taken apart.
#[derive(Clone, Copy)]
pub struct Authorization<'a> {
    /// The AccessKey id.
    pub key_id: &'a str,
    /// Lower-case names, joined by `;`.
    pub signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the `Authorization` header.
    ///
    /// # Errors
    /// [`Flaw::Incomplete`] when it is missing, repeated or misshapen.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, Flaw> {
        let fields = only(headers, AUTHORIZATION.as_str())
            .and_then(|value| value.strip_prefix(ALGORITHM)?.strip_prefix(" Credential="))
            .and_then(|rest| rest.split_once(",SignedHeaders="))
            .and_then(|(key_id, rest)| Some((key_id, rest.split_once(",Signature=")?)));
        let (key_id, (signed_headers, signature)) = fields.ok_or(Flaw::Incomplete)?;
        Ok(Self { key_id, signed_headers, signature })
    }
}

impl fmt::Debug for Authorization<'_> {
    /// Without the signature, and without the rest: a stranger may have put anything there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Signs `request`, whose other headers are all set: adds the hash of the body and `Authorization`.
///
/// # Errors
/// When `key_id` or a header that has to be signed holds something that cannot be.
pub fn sign(request: &mut Request<Bytes>, key_id: &str, secret: &Secret) -> Result<(), EncodeError> {
    let hash = HeaderValue::try_from(hex::sha256(request.body()))?;
    request.headers_mut().insert(BODY_HASH, hash);
    let mut names: Vec<&str> =
        request.headers().keys().map(HeaderName::as_str).filter(|name| must_sign(name)).collect();
    names.sort_unstable();
    let signed_headers = names.join(";");
    let canonical = canonical_request(request, &signed_headers).ok_or(EncodeError::UnsignableHeader)?;
    let signature = signature(&canonical, secret);
    let mut authorization = HeaderValue::try_from(format!(
        "{ALGORITHM} Credential={key_id},SignedHeaders={signed_headers},Signature={signature}"
    ))?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(())
}

/// Whether `secret` signed `request` around `now`.
///
/// # Errors
/// The first [`Flaw`] found: incomplete, time stamp, body, signature.
pub fn verify(
    request: &Request<Bytes>,
    presented: Authorization<'_>,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), Flaw> {
    let headers = request.headers();
    let listed = |name: &str| presented.signed_headers.split(';').any(|signed| signed == name);
    let (date, nonce, body_hash) = (DATE, NONCE, BODY_HASH);
    let required = ["host", "x-acs-action", "x-acs-version", date.as_str(), nonce.as_str(), body_hash.as_str()];
    let sent = headers.keys().map(HeaderName::as_str).filter(|name| must_sign(name));
    if !required.into_iter().chain(sent).all(listed) {
        return Err(Flaw::Incomplete);
    }
    seal::check_time(only(headers, DATE.as_str()).ok_or(Flaw::Incomplete)?, now)?;
    let canonical = canonical_request(request, presented.signed_headers).ok_or(Flaw::Incomplete)?;
    seal::compare(&hex::sha256(request.body()), only(headers, BODY_HASH.as_str()).ok_or(Flaw::Incomplete)?)?;
    seal::compare(&signature(&canonical, secret), presented.signature)
}

/// The text whose hash is signed; `None` when a listed header is missing, repeated or not ASCII.
pub fn canonical_request(request: &Request<Bytes>, signed_headers: &str) -> Option<String> {
    let headers = request.headers();
    let mut out = String::with_capacity(640);
    out.push_str(request.method().as_str());
    out.push('\n');
    out.push_str(request.uri().path());
    out.push('\n');
    if let Some(query) = request.uri().query() {
        let mut pairs = form::decode_pairs(query.as_bytes());
        pairs.sort_unstable();
        out.push_str(&form::encode_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    }
    out.push('\n');
    for name in signed_headers.split(';') {
        out.push_str(name);
        out.push(':');
        out.push_str(only(headers, name)?);
        out.push('\n');
    }
    out.push('\n');
    out.push_str(signed_headers);
    out.push('\n');
    out.push_str(only(headers, BODY_HASH.as_str())?);
    Some(out)
}

/// The signature of a canonical request: 64 lower-case hex digits.
pub fn signature(canonical_request: &str, secret: &Secret) -> String {
    hex::lower(&hmac::sha256(secret.expose().as_bytes(), string_to_sign(canonical_request).as_bytes()))
}

/// What is keyed: the algorithm and the hash of the canonical request.
pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", hex::sha256(canonical_request.as_bytes()))
}

/// The headers that the gateway acts on.
fn must_sign(name: &str) -> bool {
    matches!(name, "host" | "content-type") || name.starts_with("x-acs-")
}

/// A header's value as it is signed: without the blanks around it. HTTP/1 strips them and HTTP/2 does not, so every
/// signed header has to be read through this; else one signature would be valid for many values.
pub fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(|text| text.trim_matches([' ', '\t']))
}

/// The text of a header that is there exactly once. A second one would be read by some and signed by others.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // Going through the few headers of a request is cheaper than making a key of each name. (Names here are
    // lower-case.)
    let mut found = headers.iter().filter(|(key, _)| key.as_str() == name).map(|(_, value)| value);
    let first = found.next()?;
    if found.next().is_some() { None } else { text(first) }
}
