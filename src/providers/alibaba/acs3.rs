//! ACS3-HMAC-SHA256, the newer signature of the RPC gateway. It covers the method, path, query, selected headers and
//! the hash of the body.
//!
//! Invariant: [`sign`] and [`verify`] both use `canonical`. Everything the gateway acts on is signed: `host`,
//! `content-type` and every `x-acs-…` header present. We do not sign headers that proxies and HTTP clients often
//! rewrite (`accept`, `user-agent`), but accept requests that do.

use std::fmt;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::seal::{self, Flaw};
use crate::providers::codec::{form, hex};
use crate::providers::{Credential, EncodeError};

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
/// When the key's id or a signed header contains characters that are not allowed.
pub fn sign(request: &mut Request<Bytes>, key: &Credential) -> Result<(), EncodeError> {
    let hash = hex::sha256(request.body());
    request.headers_mut().insert(BODY_HASH, HeaderValue::from_str(&hash)?);
    let mut signed = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers().iter().filter(|(name, _)| must_sign(name.as_str())) {
        signed.push((name.as_str(), text(value).ok_or(EncodeError::UnsignableHeader)?));
    }
    signed.sort_unstable();
    if signed.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other)) {
        return Err(EncodeError::UnsignableHeader);
    }
    let mut names = String::with_capacity(192);
    for (name, _) in &signed {
        names.push_str(if names.is_empty() { "" } else { ";" });
        names.push_str(name);
    }
    let signature = signature(&canonical(request, &names, &signed, &hash), key);
    let parts = [ALGORITHM, " Credential=", key.id(), ",SignedHeaders=", &names, ",Signature=", &signature];
    let mut authorization = HeaderValue::try_from(parts.concat())?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(())
}

/// Checks that `request` was signed with `key`, with a time stamp close to `now`.
///
/// # Errors
/// The first [`Flaw`] found: incomplete, time stamp, body, signature.
pub fn verify(
    request: &Request<Bytes>,
    presented: Authorization<'_>,
    key: &Credential,
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
    seal::compare(&signature(&canonical, key), presented.signature)
}

/// The canonical request; `None` when a listed header is missing, repeated or not ASCII.
pub fn canonical_request(request: &Request<Bytes>, signed_headers: &str) -> Option<String> {
    let headers = request.headers();
    let signed: Option<Vec<_>> = signed_headers.split(';').map(|name| Some((name, only(headers, name)?))).collect();
    Some(canonical(request, signed_headers, &signed?, only(headers, BODY_HASH.as_str())?))
}

/// The canonical request. `names` lists the `signed` headers, and `hash` is that of the body.
fn canonical(request: &Request<Bytes>, names: &str, signed: &[(&str, &str)], hash: &str) -> String {
    let mut out = String::with_capacity(1024);
    for part in [request.method().as_str(), "\n", request.uri().path(), "\n"] {
        out.push_str(part);
    }
    if let Some(query) = request.uri().query() {
        let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        pairs.sort_unstable();
        form::encode_pairs_into(&mut out, pairs.iter().map(|(name, value)| (&**name, &**value)));
    }
    out.push('\n');
    for (name, value) in signed {
        for part in [name, ":", value, "\n"] {
            out.push_str(part);
        }
    }
    for part in ["\n", names, "\n", hash] {
        out.push_str(part);
    }
    out
}

/// The signature of a canonical request: 64 lower-case hex digits.
pub fn signature(canonical_request: &str, key: &Credential) -> String {
    hex::lower(&key.hmac().digest(string_to_sign(canonical_request).as_bytes()))
}

/// The string to sign: the algorithm and the hash of the canonical request.
pub fn string_to_sign(canonical_request: &str) -> String {
    [ALGORITHM, "\n", &hex::sha256(canonical_request.as_bytes())].concat()
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
