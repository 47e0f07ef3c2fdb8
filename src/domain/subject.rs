//! The subject of a question: a name with an ID number, the rules about the pair, and its keyed digest.
//!
//! Invariant: a [`Subject`] is valid and does not outlive its request; caches, holds and the ledger store only its
//! [`Digest`]. There are so few possible numbers that all can be tried, so a digest without a secret key would hide
//! nothing.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::id_number::{IdNumber, Kind};
use crate::domain::name::{InvalidName, Name};

#[cfg(test)]
mod tests;

/// Which rules about the pair are enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRules {
    /// Refuse a name without any Han or private-use character if the number is a mainland citizen's: by law their cards
    /// always show a Han name.
    pub name_script: bool,
}

/// A name and a number that may or may not belong together; wiped on drop.
#[derive(Debug, Clone)]
pub struct Subject {
    name: Name,
    id_number: IdNumber,
    /// The digest of the person and the key it was made with: many ask for it in the course of a request.
    person: OnceLock<(Fingerprint, Digest)>,
}

/// The secret key for digests; wiped on drop.
#[derive(Clone)]
pub struct DigestKey {
    mac: Hmac<Sha256>,
    id: Arc<str>,
    fingerprint: Fingerprint,
}

/// Tells keys apart. It says nothing about its key, as it is the digest of a constant.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 16]);

/// A keyed digest: equal for equal subjects, useless without the key. Still personal data; never shown to callers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub(super) [u8; 32]);

/// The first half of a keyed digest, for tables in memory. Nobody without the key can look for two people with the same
/// half, and 2^64 people would have to be asked about before two of them shared one by chance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Half([u8; 16]);

impl Default for PairRules {
    fn default() -> Self {
        Self { name_script: true }
    }
}

impl Subject {
    pub fn new(name: Name, id_number: IdNumber, rules: PairRules) -> Result<Self, InvalidName> {
        if rules.name_script && id_number.is_of_mainland_citizen() && !name.has_han_or_private_use() {
            return Err(InvalidName::NameScript);
        }
        Ok(Self { name, id_number, person: OnceLock::new() })
    }

    /// The name in its normal form, as sent.
    pub fn name(&self) -> &str {
        self.name.expose()
    }

    /// The number in its normal form, as sent.
    pub fn id_number(&self) -> &str {
        self.id_number.expose()
    }

    /// The kind of document the number belongs to.
    pub const fn kind(&self) -> Kind {
        self.id_number.kind()
    }

    /// The name with its warnings.
    pub const fn parsed_name(&self) -> &Name {
        &self.name
    }

    pub const fn number(&self) -> &IdNumber {
        &self.id_number
    }
}

impl DigestKey {
    /// Takes 32 random bytes from a secret store. Use one key per purpose.
    pub fn new(key: [u8; 32]) -> Self {
        let mac = keyed(&Zeroizing::new(key));
        let mut key = Self { mac, id: Arc::default(), fingerprint: Fingerprint([0; 16]) };
        let identity = key.digest("key-id/v1", &[]);
        key.id = identity.to_hex().get(..8).unwrap_or_default().into();
        key.fingerprint = Fingerprint(identity.half().0);
        key
    }

    /// Identifies the key without revealing anything about it: eight hexadecimal digits, stored next to its digests.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA256 over `context` and `parts`, each prefixed by its length (four bytes, big-endian), so that different
    /// lists of parts never give the same input. The context (such as `"person/v1"`) makes digests of one use
    /// meaningless in another.
    pub fn digest(&self, context: &str, parts: &[&[u8]]) -> Digest {
        let mut mac = self.mac.clone();
        for part in std::iter::once(context.as_bytes()).chain(parts.iter().copied()) {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        Digest(mac.finalize().into_bytes().into())
    }

    /// The digest of a person, over number and name in their normal forms. Made once for each subject and key.
    pub fn person(&self, subject: &Subject) -> Digest {
        let make = || self.digest("person/v1", &[subject.id_number().as_bytes(), subject.name().as_bytes()]);
        let (fingerprint, digest) = *subject.person.get_or_init(|| (self.fingerprint, make()));
        if fingerprint == self.fingerprint { digest } else { make() }
    }
}

/// HMAC-SHA256 with a 32-byte key.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros. Passing a whole block avoids the constructor that can fail.
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
    /// What [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, for use as a key in a store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The half that tables in memory have.
    pub const fn half(&self) -> Half {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.0;
        Half([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        let mut digits = [b'0'; 64];
        // The buffer has the right size, so this never fails. On the hot path: a question needs many of these.
        let _ = hex::encode_to_slice(self.0, &mut digits);
        String::from_utf8(digits.to_vec()).unwrap_or_default()
    }

    /// Parses the output of [`Digest::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Half {
    pub const fn into_bytes(self) -> [u8; 16] {
        self.0
    }

    /// As uniform and unpredictable as the digest.
    pub const fn short(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_ne_bytes([a, b, c, d])
    }
}

impl fmt::Debug for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Half(…)")
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The first eight bytes of a keyed digest are as uniform and unpredictable as all 32, and cheaper to hash.
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}
