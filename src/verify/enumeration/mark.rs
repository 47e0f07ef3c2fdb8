//! What the guard stores of a question.

use crate::domain::subject::{Digest, DigestKey, Subject};
use crate::storage::table::Packed;

/// A question as stored by the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Digest of the number. Eight bytes are enough to tell a million apart, and reveal less than the full digest.
    pub(super) number: u64,
    /// Digest of number and name.
    pub(super) name: Packed,
}

impl Mark {
    pub(super) fn of(key: &DigestKey, subject: &Subject) -> Self {
        // The person's digest is made for every question. This part of it is in no other table.
        let [.., u, v, w, x, y, z] = *key.person(subject).as_bytes();
        Self { number: short(&number(key, subject)), name: Packed::from([u, v, w, x, y, z]) }
    }
}

/// The digest of a number alone, whatever the name.
pub(in crate::verify) fn number(key: &DigestKey, subject: &Subject) -> Digest {
    key.digest("enumeration-number/v2", &[subject.id_number().as_bytes()])
}

pub(super) const fn short(number: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *number.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The low half is as uniform as the digest that it comes from.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
pub(super) const fn hash_of(number: u64) -> u32 {
    number as u32
}
