//! Hexadecimal digests.

use sha2::{Digest, Sha256};

/// SHA-256 of `bytes` in 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    lower(&Sha256::digest(bytes))
}

/// `bytes` in lower-case hexadecimal digits.
pub fn lower(bytes: &[u8]) -> String {
    // Without branches, because every call needs some hundred digits.
    let digit = |half: u8| half + b'0' + u8::from(half > 9) * (b'a' - b'9' - 1);
    let mut digits = vec![0; 2 * bytes.len()];
    let (pairs, _) = digits.as_chunks_mut();
    for ([high, low], byte) in pairs.iter_mut().zip(bytes) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 0x0f));
    }
    String::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(lower(&bytes), hex::encode(&bytes));
        assert_eq!(lower(b""), "");
    }
}
