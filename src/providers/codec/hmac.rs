//! Keyed digests, and their comparison in constant time.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// HMAC-SHA1.
pub fn sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    authenticate::<Hmac<Sha1>>(key, text).finalize().into_bytes().into()
}

/// HMAC-SHA256.
pub fn sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    authenticate::<Hmac<Sha256>>(key, text).finalize().into_bytes().into()
}

/// Compares two signatures in constant time.
pub fn is_equal(expected: &[u8], presented: &[u8]) -> bool {
    expected.ct_eq(presented).into()
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length; the error belongs to other MACs")]
fn authenticate<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_and_a_long_one_are_keys() {
        assert_ne!(sha1(b"", b"x"), sha1(&[b'k'; 200], b"x"));
        assert_ne!(sha256(b"", b"x"), sha256(&[b'k'; 200], b"x"));
    }
}
