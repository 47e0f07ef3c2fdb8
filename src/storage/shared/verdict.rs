//! A verdict as it lies in Redis. It carries a MAC: without it, a writer to Redis could forge a `match`.

use std::sync::Arc;

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::place::Place;
use crate::domain::clock::Clock;
use crate::domain::subject::DigestKey;
use crate::domain::verdict::{RequestId, Verdict};
use crate::storage::cache::{Reference, Remembered};

const MAC: usize = 16;

/// Why a value is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Of a version that we do not know, and written by somebody with the key.
    Unknown,
    /// Nobody with the key wrote it, or not for this place.
    Forged,
}

/// `verified_at`₈ verdict₁ provider (length₁, text) reference (form₁, 16 bytes or a text), MAC₁₆.
pub(super) fn write(remembered: &Remembered, place: Place, key: &DigestKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend(remembered.verified_at.at.as_millisecond().max(0).to_be_bytes());
    bytes.push(remembered.verdict as u8 + 1);
    let provider = remembered.provider.as_bytes();
    bytes.push(u8::try_from(provider.len()).unwrap_or_default());
    bytes.extend(provider.iter().take(255));
    let (form, packed) = Reference::packed(remembered.request_id.as_ref()).into_parts();
    bytes.push(form);
    match remembered.request_id.as_ref().filter(|_| form == Reference::LONG) {
        Some(long) => bytes.extend(long.as_str().as_bytes()),
        None => bytes.extend(packed),
    }
    let mac = mac(&bytes, place, key);
    bytes.extend(mac);
    bytes
}

pub(super) fn read(bytes: &[u8], place: Place, key: &DigestKey, clock: &Clock) -> Result<Remembered, Unreadable> {
    let (said, signed) = bytes.split_last_chunk::<MAC>().map(|(said, mac)| (said, *mac)).ok_or(Unreadable::Forged)?;
    if !bool::from(mac(said, place, key).ct_eq(&signed)) {
        return Err(Unreadable::Forged);
    }
    parse(said, clock).ok_or(Unreadable::Unknown)
}

fn parse(said: &[u8], clock: &Clock) -> Option<Remembered> {
    let (at, rest) = said.split_first_chunk::<8>()?;
    let (verdict, rest) = rest.split_first()?;
    let verdict = Verdict::ALL.into_iter().find(|one| *one as u8 + 1 == *verdict)?;
    let (length, rest) = rest.split_first()?;
    let (provider, rest) = rest.split_at_checked(usize::from(*length))?;
    let (form, rest) = rest.split_first()?;
    let request_id = match *form {
        Reference::LONG => RequestId::parse(str::from_utf8(rest).ok()?),
        form => Reference::of_parts(form, rest.try_into().ok()?)?.unpacked(),
    };
    let at = Timestamp::from_millisecond(i64::from_be_bytes(*at)).ok()?;
    Some(Remembered {
        verdict,
        provider: Arc::from(str::from_utf8(provider).ok()?),
        request_id,
        verified_at: clock.moment_of(at),
    })
}

fn mac(said: &[u8], place: Place, key: &DigestKey) -> [u8; MAC] {
    let digest = key.digest("shared-verdict/v1", &[place.person.as_bytes(), &place.scope, said]);
    let mut mac = [0; MAC];
    mac.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(n: u8) -> Place {
        Place { person: DigestKey::new([1; 32]).digest("test/v1", &[&[n]]), scope: [n; 8] }
    }

    fn remembered(reference: &str, clock: &Clock) -> Remembered {
        Remembered {
            verdict: Verdict::NoRecord,
            provider: Arc::from("p"),
            request_id: RequestId::parse(reference),
            verified_at: clock.moment(),
        }
    }

    #[test]
    fn a_verdict_comes_back_as_it_was_whatever_its_reference_and_is_small() {
        let (key, clock) =
            (DigestKey::new([7; 32]), Clock::fixed(Timestamp::from_millisecond(1_790_000_000_123).unwrap()));
        for reference in ["", "130A2C10-B9EE-4D84-88E3-5384FF039795", "order-42", &"x".repeat(64)] {
            let given = remembered(reference, &clock);
            let bytes = write(&given, place(1), &key);
            let back = read(&bytes, place(1), &key, &clock).unwrap();
            assert_eq!((back.verdict, &*back.provider, &back.request_id), (given.verdict, "p", &given.request_id));
            assert_eq!(back.verified_at.at, given.verified_at.at);
            // Longer values would no longer lie in Redis' small hashes.
            assert!(bytes.len() <= 64 || reference.len() == 64, "{}", bytes.len());
        }
    }

    #[test]
    fn what_nobody_with_the_key_wrote_for_this_place_is_forged() {
        let (key, clock) = (DigestKey::new([7; 32]), Clock::fixed(Timestamp::UNIX_EPOCH));
        let bytes = write(&remembered("order-42", &clock), place(1), &key);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed, place(1), &key, &clock), Err(Unreadable::Forged), "byte {at}");
        }
        let other_scope = Place { scope: [9; 8], ..place(1) };
        for elsewhere in [place(2), other_scope] {
            assert_eq!(read(&bytes, elsewhere, &key, &clock), Err(Unreadable::Forged));
        }
        assert_eq!(read(&bytes, place(1), &DigestKey::new([8; 32]), &clock), Err(Unreadable::Forged));
        assert_eq!(read(b"short", place(1), &key, &clock), Err(Unreadable::Forged));
    }
}
