//! ACS3-HMAC-SHA256, the newer signature of the RPC gateway. It covers the method, path, query, selected headers and
//! the hash of the body.
//!
//! Invariant: [`sign`] and [`verify`] both use [`canonical_request`]. Everything the gateway acts on is signed: `host`,
//! `content-type` and every `x-acs-…` header present. We do not sign headers that proxies and HTTP clients often
//! rewrite (`accept`, `user-agent`), but accept requests that do.

use std::fmt;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::seal::{self, Flaw};
use crate::domain::personal::Secret;
use crate::providers::EncodeError;
use crate::providers::codec::{form, hex, hmac};

pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

pub const DATE: HeaderName = HeaderName::from_static("x-acs-date");
/// The nonce header.
pub const NONCE: HeaderName = HeaderName::from_static("x-acs-signature-nonce");
pub const BODY_HASH: HeaderName = HeaderName::from_static("x-acs-content-sha256");

/// The parsed `Authorization` header.
#[derive(Clone, Copy)]
pub struct Authorization<'a> {
    pub key_id: &'a str,
    /// Lower-case names, joined by `;`.
    pub signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Parses the `Authorization` header.
    ///
    /// # Errors
    /// [`Flaw::Incomplete`] when it is missing, repeated or malformed.
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
    /// Omits all parts: the signature, and the others because the caller is untrusted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Signs `request` by adding the hash of the body and `Authorization`. All other headers must already be set.
///
/// # Errors
/// When `key_id` or a signed header contains characters that are not allowed.
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

/// Checks that `request` was signed with `secret`, with a time stamp close to `now`.
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

/// The canonical request; `None` when a listed header is missing, repeated or not ASCII.
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

/// The string to sign: the algorithm and the hash of the canonical request.
pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", hex::sha256(canonical_request.as_bytes()))
}

/// The headers that must be signed.
fn must_sign(name: &str) -> bool {
    matches!(name, "host" | "content-type") || name.starts_with("x-acs-")
}

/// A header value as signed, without surrounding whitespace. HTTP/1 strips it and HTTP/2 does not. Every signed header
/// is read through this function; otherwise one signature would be valid for several values.
pub fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(|text| text.trim_matches([' ', '\t']))
}

/// The value of a header that occurs exactly once. With a duplicate, signer and reader could use different values.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // A scan of the few headers is cheaper than building a `HeaderName`. Names here are lower-case.
    let mut found = headers.iter().filter(|(key, _)| key.as_str() == name).map(|(_, value)| value);
    let first = found.next()?;
    if found.next().is_some() { None } else { text(first) }
}
