//! The signature TC3-HMAC-SHA256: over method, query, chosen headers and the body's hash.
//!
//! It covers neither the action nor the version, region or token: only TLS protects these. The date in the scope is
//! the UTC date of the very time stamp that is sent. Signing and checking go through the same [`canonical_request`].

use std::fmt;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::domain::personal::Secret;
use crate::providers::EncodeError;
use crate::providers::codec::{hex, hmac};

/// Names the scheme in the `Authorization` header.
pub(super) const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// The header with the time in Unix seconds.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-tc-timestamp");
/// How far the time may be from the clock, either way.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// What ends every scope.
const TERMINATOR: &str = "tc3_request";
/// The headers that all of the vendor's clients sign, and no other.
const SIGNED_HEADERS: &str = "content-type;host";

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A part is missing, repeated or misshapen.
    Form,
    /// The time is too far from the clock, or the scope has another date.
    Expired,
    /// Another secret, or another request.
    Mismatch,
}

/// The `Authorization` header taken apart.
#[derive(Clone, Copy)]
pub(super) struct Authorization<'a> {
    pub(super) secret_id: &'a str,
    date: &'a str,
    /// A label of the caller's choice: the Node client takes it from the host that it was given.
    pub(super) service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header; `None` if it is missing, repeated or misshapen.
    pub(super) fn read(headers: &'a HeaderMap) -> Option<Self> {
        let rest = only(headers, AUTHORIZATION.as_str())?.strip_prefix(ALGORITHM)?.strip_prefix(" Credential=")?;
        let (scope, rest) = rest.split_once(", SignedHeaders=")?;
        let (signed_headers, signature) = rest.split_once(", Signature=")?;
        let mut parts = scope.split('/');
        let (secret_id, date, service) = (parts.next()?, parts.next()?, parts.next()?);
        (parts.next() == Some(TERMINATOR) && parts.next().is_none()).then_some(())?;
        Some(Self { secret_id, date, service, signed_headers, signature })
    }
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Signs `request`, whose content type, host and time stamp are set: adds `Authorization`.
///
/// # Errors
/// When a part cannot be a header.
pub(super) fn sign(
    request: &mut Request<Bytes>,
    secret_id: &str,
    secret: &Secret,
    service: &str,
    now: Timestamp,
) -> Result<(), EncodeError> {
    let canonical = canonical_request(request, SIGNED_HEADERS, &hex::sha256(request.body()), None);
    let canonical = canonical.ok_or(EncodeError::UnsignableHeader)?;
    let (seconds, date) = (now.as_second(), date_of(now));
    let signature = signature(secret, &date, service, &string_to_sign(seconds, &date, service, &canonical));
    let mut value = HeaderValue::try_from(format!(
        "{ALGORITHM} Credential={secret_id}/{date}/{service}/{TERMINATOR}, SignedHeaders={SIGNED_HEADERS}, \
         Signature={signature}"
    ))?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(())
}

/// Whether `secret` signed `request` around `now`.
///
/// # Errors
/// The first [`Flaw`] found: time, form, signature.
pub(super) fn verify(
    request: &Request<Bytes>,
    authorization: Authorization<'_>,
    secret: &Secret,
    now: Timestamp,
) -> Result<(), Flaw> {
    let Authorization { date, service, signed_headers, signature: presented, .. } = authorization;
    let seconds = only(request.headers(), TIMESTAMP.as_str()).and_then(seconds_of).ok_or(Flaw::Form)?;
    let at = Timestamp::from_second(seconds).map_err(|_| Flaw::Expired)?;
    if now.as_second().abs_diff(seconds) > WINDOW.as_secs().unsigned_abs() || date != date_of(at) {
        return Err(Flaw::Expired);
    }
    let names: Vec<&str> = signed_headers.split(';').collect();
    if !names.is_sorted() || !["content-type", "host"].iter().all(|needed| names.contains(needed)) {
        return Err(Flaw::Form);
    }
    let hash = hex::sha256(request.body());
    // The Node client signs the host without its port.
    let host = only(request.headers(), "host").ok_or(Flaw::Form)?;
    let without_port = host.rsplit_once(':').map(|(host, _)| host);
    for host in std::iter::once(None).chain(without_port.map(Some)) {
        let canonical = canonical_request(request, signed_headers, &hash, host).ok_or(Flaw::Form)?;
        let expected = signature(secret, date, service, &string_to_sign(seconds, date, service, &canonical));
        if hmac::is_equal(expected.as_bytes(), presented.as_bytes()) {
            return Ok(());
        }
    }
    Err(Flaw::Mismatch)
}

/// The text whose hash is signed, with `host` instead of the header's value if given; `None` when a listed header is
/// missing, repeated or not ASCII.
pub(super) fn canonical_request(
    request: &Request<Bytes>,
    signed_headers: &str,
    body_hash: &str,
    host: Option<&str>,
) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    let mut out = format!("{}\n/\n{query}\n", request.method());
    for name in signed_headers.split(';') {
        let value = match host {
            Some(host) if name == "host" => host,
            _ => only(request.headers(), name)?,
        };
        out.push_str(name);
        out.push(':');
        out.push_str(&value.to_lowercase());
        out.push('\n');
    }
    Some(out + "\n" + signed_headers + "\n" + body_hash)
}

/// What is keyed.
pub(super) fn string_to_sign(seconds: i64, date: &str, service: &str, canonical_request: &str) -> String {
    let hash = hex::sha256(canonical_request.as_bytes());
    format!("{ALGORITHM}\n{seconds}\n{date}/{service}/{TERMINATOR}\n{hash}")
}

/// The signature: 64 lower-case hexadecimal digits.
pub(super) fn signature(secret: &Secret, date: &str, service: &str, string_to_sign: &str) -> String {
    let first = Zeroizing::new(format!("TC3{}", secret.expose()));
    let mut key = Zeroizing::new(hmac::sha256(first.as_bytes(), date.as_bytes()));
    for part in [service, TERMINATOR] {
        *key = hmac::sha256(&*key, part.as_bytes());
    }
    hex::lower(&hmac::sha256(&*key, string_to_sign.as_bytes()))
}

/// The UTC date of a moment.
pub(super) fn date_of(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Unix seconds as decimal digits, which is all that the vendor writes.
pub(super) fn seconds_of(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// The text of a header that is there exactly once, without the blanks around it. A second one would be read by some
/// and signed by others.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(key, _)| key.as_str() == name).map(|(_, value)| value);
    let first = found.next()?;
    if found.next().is_some() { None } else { first.to_str().ok().map(|text| text.trim_matches([' ', '\t'])) }
}
