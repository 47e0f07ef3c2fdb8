//! The older signatures, HmacSHA1 and HmacSHA256, over all decoded parameters of a form or query. We accept them from
//! old callers but never send them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::personal::Secret;
use crate::providers::codec::hmac;

/// The signature parameter, which is not signed itself.
pub(super) const SIGNATURE: &str = "Signature";

/// The string to sign: method, host, and every parameter but [`SIGNATURE`], sorted by name, values unencoded.
pub(super) fn string_to_sign(method: &str, host: &str, parameters: &[(String, String)]) -> String {
    // The vendor's Python client writes `_` in names as `.`; no parameter of this action contains one.
    let mut signed: Vec<_> = parameters.iter().filter(|(name, _)| name != SIGNATURE).collect();
    signed.sort_unstable();
    let pairs: Vec<_> = signed.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{method}{host}/?{}", pairs.join("&"))
}

/// The value of [`SIGNATURE`]; `None` for an unknown algorithm.
pub(super) fn sign(algorithm: &str, secret: &Secret, string_to_sign: &str) -> Option<String> {
    let (key, text) = (secret.expose().as_bytes(), string_to_sign.as_bytes());
    match algorithm {
        "HmacSHA1" => Some(STANDARD.encode(hmac::sha1(key, text))),
        "HmacSHA256" => Some(STANDARD.encode(hmac::sha256(key, text))),
        _ => None,
    }
}
