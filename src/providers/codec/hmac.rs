//! Keyed digests, and their comparison in constant time.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// HMAC-SHA256 with one key, whose schedule is computed once. Wiped on drop.
#[derive(Clone)]
pub struct Sha256Key(Hmac<Sha256>);

impl Sha256Key {
    pub fn new(key: &[u8]) -> Self {
        Self(keyed(key))
    }

    pub fn digest(&self, text: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(text).finalize().into_bytes().into()
    }
}

impl fmt::Debug for Sha256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Key(…)")
    }
}

/// HMAC-SHA1.
pub fn sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    keyed::<Hmac<Sha1>>(key).chain_update(text).finalize().into_bytes().into()
}

/// HMAC-SHA256.
pub fn sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    Sha256Key::new(key).digest(text)
}

/// Compares two signatures in constant time.
pub fn is_equal(expected: &[u8], presented: &[u8]) -> bool {
    expected.ct_eq(presented).into()
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length; the error belongs to other MACs")]
fn keyed<M: KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_and_a_long_one_are_keys() {
        assert_ne!(sha1(b"", b"x"), sha1(&[b'k'; 200], b"x"));
        assert_ne!(sha256(b"", b"x"), sha256(&[b'k'; 200], b"x"));
    }

    #[test]
    fn a_key_is_used_again_and_not_shown() {
        let key = Sha256Key::new(b"secret");
        assert_eq!([key.digest(b"one"), key.digest(b"two")], [sha256(b"secret", b"one"), sha256(b"secret", b"two")]);
        assert_eq!(format!("{key:?}"), "Sha256Key(…)");
    }
}
