//! The hash chain: it shows whether an entry was changed, dropped or moved.

use sha2::{Digest, Sha256};

/// The hash that seals an entry and all entries before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal(pub [u8; 32]);

impl Seal {
    /// The seal before the first entry.
    pub const NONE: Self = Self([0; 32]);

    /// The seal of entry number `seq` with this body, where `self` is the seal of the entry before it.
    #[must_use]
    pub fn next(self, seq: i64, body: &str) -> Self {
        let hash = Sha256::new_with_prefix(self.0).chain_update(seq.to_be_bytes()).chain_update(body);
        Self(hash.finalize().into())
    }
    /// The seal with these 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut seal = Self::NONE;
        hex::decode_to_slice(text, &mut seal.0).ok()?;
        Some(seal)
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}
