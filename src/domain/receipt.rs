//! Digests in receipts. A receipt identifies a person by a digest with its own salt. Whoever has the receipt and knows
//! the person can recompute the digest with any HMAC implementation, years later and without us.
//!
//! Invariants: the salt is derived from our secret key and the verification id, so it need not be stored, and someone
//! who only has the stored digest cannot find the number by trying all numbers. No two receipts share a salt, so they
//! do not show that they are about the same person.

use hmac::Mac as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::subject::{Digest, DigestKey, Subject, keyed};

/// The method: HMAC-SHA256 with the salt's bytes as key, over the number (18 characters; 15 for the 2017 card), a line
/// feed, and the name, both in their normal forms, in UTF-8.
pub const METHOD: &str = "hmac-sha256/v1";

/// The salt of one receipt; wiped on drop.
pub struct Salt(Zeroizing<[u8; 32]>);

impl Salt {
    /// The salt for the answer with this verification id. Deterministic.
    pub fn of(key: &DigestKey, verification: Uuid) -> Self {
        Self(Zeroizing::new(key.digest("receipt-salt/v1", &[verification.as_bytes()]).0))
    }

    /// The digest of a person, see [`METHOD`]. The line feed is unambiguous: it occurs in neither number nor name.
    pub fn digest(&self, subject: &Subject) -> Digest {
        let mut mac = keyed(&self.0);
        mac.update(subject.id_number().as_bytes());
        mac.update(b"\n");
        mac.update(subject.name().as_bytes());
        Digest(mac.finalize().into_bytes().into())
    }

    /// 64 hexadecimal digits. Only for the receipt itself.
    pub fn to_hex(&self) -> String {
        Digest(*self.0).to_hex()
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id_number::{Calendar, IdNumber};
    use crate::domain::name::Name;
    use crate::domain::subject::PairRules;

    fn subject(name: &str) -> Subject {
        let number = IdNumber::parse("11010519491231002x", jiff::civil::date(2026, 11, 22), Calendar::Strict).unwrap();
        Subject::new(Name::parse(name).unwrap(), number, PairRules::default()).unwrap()
    }

    #[test]
    fn the_digest_is_what_any_hmac_makes_of_salt_number_and_name() {
        let salt = Salt::of(&DigestKey::new([7; 32]), Uuid::from_u128(1));
        // python3: hmac.new(bytes.fromhex(salt), "11010519491231002X\n张三".encode(), "sha256").hexdigest()
        assert_eq!(salt.to_hex(), "dc947c338a0e2d86099c256cd6a54718b2bd1389b44f157843ebe1fe6be481f6");
        assert_eq!(
            salt.digest(&subject(" 张 三 ")).to_hex(),
            "b1688c7b6b1dd4375bb5d12b87877c02dededb85be5889096d5374b122f2b75c"
        );
        assert_ne!(salt.digest(&subject("李四")).to_hex(), salt.digest(&subject("张三")).to_hex());
    }

    #[test]
    fn two_receipts_about_one_person_have_nothing_in_common() {
        let key = DigestKey::new([7; 32]);
        let [one, other] = [1, 2].map(|id| Salt::of(&key, Uuid::from_u128(id)));
        assert_ne!(one.to_hex(), other.to_hex());
        assert_ne!(one.digest(&subject("张三")).to_hex(), other.digest(&subject("张三")).to_hex());
        assert_eq!(format!("{one:?}"), "Salt(…)");
    }
}
