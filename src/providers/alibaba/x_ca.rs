//! The API gateway's AppKey signature (`X-Ca-*` headers): signing and verification.
//!
//! Invariant: [`string_to_sign`] serves both directions. It uses header names as listed, header values as sent, and
//! decoded parameters. Adding or rewriting `Accept`, `Content-Type`, `Content-MD5` or `Date` after signing breaks the
//! signature.
//!
//! A new algorithm is a variant of [`Algorithm`] and a line in its `mac`.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName};
use http::{HeaderValue, Request};
use jiff::Timestamp;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::seal::WINDOW;
use crate::domain::personal::Secret;
use crate::providers::codec::{form, hmac};
use crate::providers::{EncodeError, Stamp};

pub const KEY: HeaderName = HeaderName::from_static("x-ca-key");
/// The time of signing, in milliseconds since 1970.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("x-ca-timestamp");
/// The nonce.
pub const NONCE: HeaderName = HeaderName::from_static("x-ca-nonce");
/// The [`Algorithm`]; HmacSHA256 if absent.
pub const SIGNATURE_METHOD: HeaderName = HeaderName::from_static("x-ca-signature-method");
/// The names of the signed headers, separated by commas.
pub const SIGNATURE_HEADERS: HeaderName = HeaderName::from_static("x-ca-signature-headers");
/// The signature, in Base64.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-ca-signature");

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The headers that [`sign`] lists.
const LISTED: [&str; 4] = ["x-ca-key", "x-ca-nonce", "x-ca-signature-method", "x-ca-timestamp"];

/// These have fixed positions in the string to sign and are ignored in a caller's list.
const NEVER_LISTED: [&str; 6] =
    ["x-ca-signature", "x-ca-signature-headers", "accept", "content-md5", "content-type", "date"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// `HmacSHA256`, the gateway's default.
    #[default]
    HmacSha256,
    /// `HmacSHA1`, for old instances.
    HmacSha1,
}

/// Why a signed request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The time stamp is missing, malformed or not among the signed headers.
    InvalidTimestamp,
    /// The time stamp is more than 15 minutes from the clock.
    Expired,
    EmptySignature,
    /// The signature, its algorithm or its list of headers is wrong.
    WrongSignature,
    /// The body does not match the signed digest.
    WrongContentMd5,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::HmacSha256 => "HmacSHA256",
            Algorithm::HmacSha1 => "HmacSHA1",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Algorithm::HmacSha256, Algorithm::HmacSha1].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn mac(self, secret: &Secret, text: &[u8]) -> String {
        let key = secret.expose().as_bytes();
        match self {
            Algorithm::HmacSha256 => BASE64.encode(hmac::sha256(key, text)),
            Algorithm::HmacSha1 => BASE64.encode(hmac::sha1(key, text)),
        }
    }
}

/// Signs a finished `request` with `key`. Adds the key id, the time, the nonce, and the digest of a body that is not a
/// form.
///
/// # Errors
/// When `key` or the nonce is not a valid header value.
pub fn sign(
    request: &mut Request<Bytes>,
    key: &str,
    secret: &Secret,
    algorithm: Algorithm,
    stamp: &Stamp,
) -> Result<(), EncodeError> {
    if let Some(digest) = content_md5(request) {
        request.headers_mut().insert(CONTENT_MD5, HeaderValue::from_str(&digest)?);
    }
    let headers = request.headers_mut();
    headers.insert(KEY, HeaderValue::from_str(key)?);
    headers.insert(TIMESTAMP, HeaderValue::from(stamp.now.as_millisecond()));
    headers.insert(NONCE, HeaderValue::from_str(&stamp.nonce)?);
    headers.insert(SIGNATURE_METHOD, HeaderValue::from_static(algorithm.as_str()));
    sign_listed(request, secret, algorithm, &LISTED)
}

/// Signs the headers that the request already has, with their names spelled and listed as given.
///
/// # Errors
/// When a name is not valid in a header.
pub fn sign_listed(
    request: &mut Request<Bytes>,
    secret: &Secret,
    algorithm: Algorithm,
    listed: &[&str],
) -> Result<(), EncodeError> {
    let signature = algorithm.mac(secret, &string_to_sign(request, listed));
    let mut signature = HeaderValue::from_str(&signature)?;
    signature.set_sensitive(true);
    request.headers_mut().insert(SIGNATURE_HEADERS, HeaderValue::from_str(&listed.join(","))?);
    request.headers_mut().insert(SIGNATURE, signature);
    Ok(())
}

/// Identifies a signed request for replay protection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The nonce; the signature itself if no nonce is signed.
    pub nonce: &'a str,
    /// When the request expires.
    pub until: Timestamp,
}

impl fmt::Debug for Seen<'_> {
    /// Omits the nonce, which may be the signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Verifies the signature of `request` in constant time. The caller looks up `secret` by [`KEY`] and rejects repeated
/// nonces.
///
/// Stricter than the gateway: the key id, the time and the body must be signed.
///
/// # Errors
/// The first flaw found.
pub fn verify<'a>(request: &'a Request<Bytes>, secret: &Secret, now: Timestamp) -> Result<Seen<'a>, Broken> {
    let headers = request.headers();
    let listed = text(headers, &SIGNATURE_HEADERS).ok_or(Broken::WrongSignature)?;
    let listed: Vec<&str> = listed.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    // The list itself is not signed: listing `x-ca-nonce:abc` would reproduce the line that a nonce `abc:` has signed.
    if !listed.iter().all(|name| HeaderName::from_bytes(name.as_bytes()).is_ok()) {
        return Err(Broken::WrongSignature);
    }
    let signed = |header: HeaderName| listed.iter().any(|name| name.eq_ignore_ascii_case(header.as_str()));

    let at = text(headers, &TIMESTAMP).and_then(|millis| millis.parse().ok());
    let at = at.and_then(|millis| Timestamp::from_millisecond(millis).ok()).filter(|_| signed(TIMESTAMP));
    let at = at.ok_or(Broken::InvalidTimestamp)?;
    if now.duration_since(at).abs() > WINDOW {
        return Err(Broken::Expired);
    }
    if content_md5(request).as_deref().unwrap_or_default() != text(headers, &CONTENT_MD5).unwrap_or_default() {
        return Err(Broken::WrongContentMd5);
    }
    let presented = headers.get(&SIGNATURE).filter(|value| !value.is_empty()).ok_or(Broken::EmptySignature)?;
    let algorithm = headers
        .get(&SIGNATURE_METHOD)
        .map_or(Some(Algorithm::default()), |value| Algorithm::parse(value.to_str().unwrap_or_default()));
    let algorithm = algorithm.filter(|_| signed(KEY)).ok_or(Broken::WrongSignature)?;
    let expected = algorithm.mac(secret, &string_to_sign(request, &listed));
    if !hmac::is_equal(expected.as_bytes(), presented.as_bytes()) {
        return Err(Broken::WrongSignature);
    }
    // An unsigned nonce could be replaced in a replay.
    let nonce = text(headers, &NONCE).filter(|nonce| signed(NONCE) && !nonce.is_empty());
    let nonce = nonce.or_else(|| presented.to_str().ok()).ok_or(Broken::WrongSignature)?;
    Ok(Seen { nonce, until: at.checked_add(WINDOW).map_err(|_| Broken::InvalidTimestamp)? })
}

/// The string to sign: five fixed lines, the listed headers, and the path with the parameters of query and form.
///
/// It contains personal data, so it is wiped after use.
pub fn string_to_sign(request: &Request<Bytes>, listed: &[&str]) -> Zeroizing<Vec<u8>> {
    let headers = request.headers();
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    // Large enough for all our requests: a reallocation would leave unwiped copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(1024 + request.body().len()));
    for line in [
        request.method().as_str().as_bytes(),
        value(ACCEPT.as_str()),
        value(CONTENT_MD5.as_str()),
        value(CONTENT_TYPE.as_str()),
        value(DATE.as_str()),
    ] {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    let mut names: Vec<&str> = listed.iter().copied().filter(|name| !is_never_listed(name)).collect();
    names.sort_unstable();
    for name in names {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value(name));
        out.push(b'\n');
    }
    out.extend_from_slice(request.uri().path().as_bytes());
    for (index, (name, value)) in parameters(request).iter().enumerate() {
        out.push(if index == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name.as_bytes());
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
    out
}

/// The parameters of query and form, sorted by name.
fn parameters(request: &Request<Bytes>) -> Vec<(String, String)> {
    let mut pairs = form::decode_pairs(request.uri().query().unwrap_or_default().as_bytes());
    if is_form(request.headers()) {
        pairs.extend(form::decode_pairs(request.body()));
    }
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    pairs
}

/// The digest of a body that the string to sign does not contain.
fn content_md5(request: &Request<Bytes>) -> Option<String> {
    let needed = !request.body().is_empty() && !is_form(request.headers());
    needed.then(|| BASE64.encode(Md5::digest(request.body())))
}

fn is_form(headers: &HeaderMap) -> bool {
    let essence = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn is_never_listed(name: &str) -> bool {
    NEVER_LISTED.iter().any(|never| never.eq_ignore_ascii_case(name))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
