//! What both signatures of the RPC gateway rest on: keyed digests, time stamps, and how a seal can be broken.
//!
//! Invariant: a comparison takes the same time wherever two values differ, and a flaw says nothing of either.

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How far a time stamp may be from the clock. The current page says 31 minutes, the older page and the error text 15.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Why a signed request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A part of the signature is missing, repeated or misshapen, or something that must be signed is not.
    Incomplete,
    /// The time stamp is not `YYYY-MM-DDThh:mm:ssZ`.
    TimeFormat,
    /// The time stamp is more than [`WINDOW`] away, in either direction.
    Expired,
    /// Another secret, or another request.
    Mismatch,
}

/// `at` as both signatures write it: UTC, whole seconds.
pub fn time_stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether `text` is a time stamp within [`WINDOW`] of `now`.
///
/// # Errors
/// [`Flaw::TimeFormat`] or [`Flaw::Expired`].
pub fn check_time(text: &str, now: Timestamp) -> Result<(), Flaw> {
    let at: Timestamp = text.parse().map_err(|_| Flaw::TimeFormat)?;
    // The parser takes offsets, fractions and lower case too; the gateway does not.
    if time_stamp(at) != text {
        return Err(Flaw::TimeFormat);
    }
    if now.duration_since(at).abs() <= WINDOW { Ok(()) } else { Err(Flaw::Expired) }
}

/// When a request with the time stamp `text` is no longer good; nothing if that is none.
pub fn end_of(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok()?.checked_add(WINDOW).ok()
}

/// HMAC-SHA1.
pub fn hmac_sha1(key: &[u8], text: &str) -> [u8; 20] {
    authenticate::<Hmac<Sha1>>(key, text).finalize().into_bytes().into()
}

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], text: &str) -> [u8; 32] {
    authenticate::<Hmac<Sha256>>(key, text).finalize().into_bytes().into()
}

/// Whether a presented signature is the expected one, in constant time.
///
/// # Errors
/// [`Flaw::Mismatch`].
pub fn compare(expected: &str, presented: &str) -> Result<(), Flaw> {
    let same = bool::from(expected.as_bytes().ct_eq(presented.as_bytes()));
    same.then_some(()).ok_or(Flaw::Mismatch)
}

#[expect(clippy::expect_used, reason = "HMAC is defined for keys of any length; the error belongs to other MACs")]
fn authenticate<M: Mac + KeyInit>(key: &[u8], text: &str) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_is_good_for_fifteen_minutes_either_way() {
        let now: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        for good in ["2026-11-22T08:00:00Z", "2026-11-22T07:45:00Z", "2026-11-22T08:15:00Z"] {
            assert_eq!(check_time(good, now), Ok(()), "{good}");
        }
        for stale in ["2026-11-22T07:44:59Z", "2026-11-22T08:15:01Z", "1970-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
            assert_eq!(check_time(stale, now), Err(Flaw::Expired), "{stale}");
        }
    }

    #[test]
    fn a_time_stamp_has_one_form() {
        let now: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        for odd in [
            "",
            "now",
            "2026-11-22 08:00:00Z",
            "2026-11-22T08:00:00.0Z",
            "2026-11-22T16:00:00+08:00",
            "2026-11-22t08:00:00z",
        ] {
            assert_eq!(check_time(odd, now), Err(Flaw::TimeFormat), "{odd}");
        }
    }

    #[test]
    fn an_empty_key_and_a_long_one_are_keys() {
        assert_ne!(hmac_sha1(b"", "x"), hmac_sha1(&[b'k'; 200], "x"));
        assert_ne!(hmac_sha256(b"", "x"), hmac_sha256(&[b'k'; 200], "x"));
    }
}
