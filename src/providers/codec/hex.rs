//! Hexadecimal digests.

use sha2::{Digest, Sha256};

/// SHA-256 of `bytes` in 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    lower(&Sha256::digest(bytes))
}

/// `bytes` in lower-case hexadecimal digits.
pub fn lower(bytes: &[u8]) -> String {
    hex::encode(bytes)
}
