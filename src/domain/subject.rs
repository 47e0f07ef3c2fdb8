//! The one a question is about: a name with a number, the rules about the pair, and its keyed digest.
//!
//! Invariant: a [`Subject`] is sound, and nothing that outlives the request holds it: caches, holds and the ledger know
//! its [`Digest`] only. Numbers are few enough to try them all, so that a digest without a secret key would hide nothing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::id_number::{IdNumber, Kind};
use crate::domain::name::{InvalidName, Name};

#[cfg(test)]
mod tests;

/// Which rules about the pair are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRules {
    /// Refuse a name without any Han or private-use character for the number of a mainland citizen: by law such a card
    /// always shows a Han name.
    pub name_script: bool,
}

/// A name and a number of which we ask whether they belong together; wiped on drop.
#[derive(Debug, Clone)]
pub struct Subject {
    name: Name,
    id_number: IdNumber,
}

/// The secret that makes digests; wiped on drop.
#[derive(Clone)]
pub struct DigestKey {
    mac: Hmac<Sha256>,
    id: Arc<str>,
}

/// A keyed digest: equal for equal subjects, and of no use without the key. Still personal data; never shown to callers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub(super) [u8; 32]);

impl Default for PairRules {
    fn default() -> Self {
        Self { name_script: true }
    }
}

impl Subject {
    /// Joins a name and a number, unless a rule about the pair forbids it.
    pub fn new(name: Name, id_number: IdNumber, rules: PairRules) -> Result<Self, InvalidName> {
        if rules.name_script && id_number.is_of_mainland_citizen() && !name.has_han_or_private_use() {
            return Err(InvalidName::NameScript);
        }
        Ok(Self { name, id_number })
    }

    /// The name as it is sent.
    pub fn name(&self) -> &str {
        self.name.expose()
    }

    /// The number as it is sent.
    pub fn id_number(&self) -> &str {
        self.id_number.expose()
    }

    /// What kind of document the number belongs to.
    pub const fn kind(&self) -> Kind {
        self.id_number.kind()
    }

    /// The name with what parsing found out about it.
    pub const fn parsed_name(&self) -> &Name {
        &self.name
    }

    /// The number with what it tells.
    pub const fn number(&self) -> &IdNumber {
        &self.id_number
    }
}

impl DigestKey {
    /// Takes 32 random bytes from a secret store, one key per purpose.
    pub fn new(key: [u8; 32]) -> Self {
        let mut key = Self { mac: keyed(&Zeroizing::new(key)), id: Arc::default() };
        key.id = key.digest("key-id/v1", &[]).to_hex().get(..8).unwrap_or_default().into();
        key
    }

    /// Names the key without telling anything of it: eight hexadecimal digits that stand beside its digests.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA256 over `context` and `parts`, each behind its length (four bytes, big-endian), so that no two lists of
    /// parts look alike. The context (`"person/v1"`) keeps the digests of one use from meaning anything in another.
    pub fn digest(&self, context: &str, parts: &[&[u8]]) -> Digest {
        let mut mac = self.mac.clone();
        for part in std::iter::once(context.as_bytes()).chain(parts.iter().copied()) {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        Digest(mac.finalize().into_bytes().into())
    }

    /// The digest of a person: number and name in their normal forms.
    pub fn person(&self, subject: &Subject) -> Digest {
        self.digest("person/v1", &[subject.id_number().as_bytes(), subject.name().as_bytes()])
    }
}

/// HMAC-SHA-256 under a key of 32 bytes.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC fills a short key up with zeros; a whole block is the form that cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    for (place, byte) in block.iter_mut().zip(*key) {
        *place = byte;
    }
    Hmac::new((&*block).into())
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

impl Digest {
    /// The bytes, to key a store with.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        let mut digits = [b'0'; 64];
        // Into room of the right size, which never fails; one question needs many of them.
        let _ = hex::encode_to_slice(self.0, &mut digits);
        String::from_utf8(digits.to_vec()).unwrap_or_default()
    }

    /// Reads back what [`Digest::to_hex`] has written.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Eight bytes of a keyed digest are as even and as hard to foresee as all of them, and tables hash each key.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}
