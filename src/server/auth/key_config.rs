//! Keys: their configuration, format and verification.
//!
//! Only the SHA-256 of a key is stored. A presented key is hashed and looked up by its hash, so the timing of lookup
//! and comparison does not depend on how much of the key is right.

use http::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;

/// The prefix of every key made by `idgate key new`, so that leaked keys are easy to spot.
pub const KEY_PREFIX: &str = "idg_";

/// One key of a client or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Public: appears in logs.
    pub id: String,
    /// SHA-256 of the key, 64 hexadecimal digits.
    pub sha256: String,
    /// Refused from this time on (RFC 3339).
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// All errors in a list of keys, as (key, problem and remedy). `command` makes such a key.
pub(in crate::server) fn validate_keys(keys: &[KeyConfig], command: &str) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        if parse_hash(&key.sha256).is_none() {
            let text = format!("is not a SHA-256 in 64 hexadecimal digits; `{command}` prints one");
            mistakes.push((format!("keys[{index}].sha256"), text));
        }
        if key.id.is_empty() || key.id.len() > 64 || !key.id.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text =
                "must be 1 to 64 visible ASCII characters, because it stands in logs; write for example \"key-1\""
                    .to_owned();
            mistakes.push((format!("keys[{index}].id"), text));
        }
    }
    mistakes
}

/// Extracts the key from `Authorization: Bearer <key>`.
pub(in crate::server) fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii()).filter(|key| !key.is_empty())
}

/// Whether `text` contains a client's key. Checked before text is logged or stored.
pub(in crate::server) fn holds_key(text: &str) -> bool {
    text.contains(KEY_PREFIX)
}

/// Parses a SHA-256 in 64 hexadecimal digits.
pub(in crate::server) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_digits_and_nothing_that_a_number_may_have_beside() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(parse_hash(&digits).map(|hash| (hash[0], hash[31])), Some((0x01, 0xef)));
        assert_eq!(parse_hash(&digits.to_uppercase()), parse_hash(&digits));
        for bad in [digits.replacen("01", "+1", 1), digits.replacen("01", " 1", 1), "a".repeat(63), "é".repeat(32)] {
            assert_eq!(parse_hash(&bad), None, "{bad}");
        }
    }
}
