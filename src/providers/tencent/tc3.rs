//! The signature TC3-HMAC-SHA256. It covers the method, query, selected headers and the hash of the body.
//!
//! It does not cover the action, version, region or token: only TLS protects these. The scope's date is the UTC date of
//! the time stamp sent. Signing and verification both use [`canonical_request`].

use std::fmt;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::domain::personal::Secret;
use crate::providers::EncodeError;
use crate::providers::codec::{hex, hmac};

pub(super) const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// The header with the time in Unix seconds.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-tc-timestamp");
/// The maximum distance between time stamp and clock, in either direction.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// The suffix of every scope.
const TERMINATOR: &str = "tc3_request";
/// The headers that all of the vendor's clients sign.
const SIGNED_HEADERS: &str = "content-type;host";

/// Why a signature is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A part is missing, repeated or malformed.
    Form,
    /// The time stamp is too far from the clock, or the scope has another date.
    Expired,
    /// Wrong secret or altered request.
    Mismatch,
}

/// The parsed `Authorization` header.
#[derive(Clone, Copy)]
pub(super) struct Authorization<'a> {
    pub(super) secret_id: &'a str,
    date: &'a str,
    /// Chosen by the caller: the Node client derives it from the host it was given.
    pub(super) service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Parses the header; `None` if it is missing, repeated or malformed.
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

/// Signs `request` by adding `Authorization`. Content type, host and time stamp must already be set.
///
/// # Errors
/// When a part is not a valid header value.
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

/// Checks that `request` was signed with `secret`, with a time stamp close to `now`.
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

/// The canonical request, with `host` instead of the header's value if given; `None` when a listed header is missing,
/// repeated or not ASCII.
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

/// The string to sign.
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

pub(super) fn date_of(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Parses Unix seconds. Only decimal digits are accepted, as the vendor writes them.
pub(super) fn seconds_of(text: &str) -> Option<i64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// The value of a header that occurs exactly once, without surrounding whitespace. With a duplicate, signer and reader
/// could use different values.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|(key, _)| key.as_str() == name).map(|(_, value)| value);
    let first = found.next()?;
    if found.next().is_some() { None } else { first.to_str().ok().map(|text| text.trim_matches([' ', '\t'])) }
}
