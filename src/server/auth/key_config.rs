//! Keys: their configuration, format and verification.
//!
//! Only the SHA-256 of a key is stored. A presented key is hashed and looked up by its hash, so the timing of lookup
//! and comparison does not depend on how much of the key is right.

use std::hash::{Hash, Hasher};

use http::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

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

/// The SHA-256 of a key. Two are compared in constant time, also by a table that has them as keys.
#[derive(Debug, Clone, Copy, Eq)]
pub(in crate::server) struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes what a request presents.
    pub(in crate::server) fn of(presented: &[u8]) -> Self {
        #[cfg(test)]
        work::note(|work| work.hashed.push(presented.len()));
        Self(Sha256::digest(presented).into())
    }

    pub(in crate::server) fn parse(text: &str) -> Option<Self> {
        parse_hash(text).map(Self)
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        work::note(|work| work.compared += 1);
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// All errors in a list of keys, as (key, problem and remedy). `command` makes such a key.
pub(in crate::server) fn validate_keys(keys: &[KeyConfig], command: &str) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        if KeyHash::parse(&key.sha256).is_none() {
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

/// What looking up a key has cost this thread: a test compares keys by it, because time cannot be compared.
#[cfg(test)]
pub(super) mod work {
    use std::cell::RefCell;

    #[derive(Debug, Default)]
    pub struct Work {
        /// The lengths of what was hashed.
        pub hashed: Vec<usize>,
        /// How often two hashes were compared.
        pub compared: usize,
    }

    thread_local!(static WORK: RefCell<Work> = RefCell::default());

    pub fn note(of: impl FnOnce(&mut Work)) {
        WORK.with_borrow_mut(of);
    }

    /// What was done since the last time.
    pub fn take() -> Work {
        WORK.take()
    }
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
