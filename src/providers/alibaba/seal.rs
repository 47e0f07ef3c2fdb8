//! Shared by the signatures of both gateways: time stamps, and the flaws a signature can have.
//!
//! Invariant: comparisons are constant-time, and a flaw reveals neither value.

use jiff::fmt::temporal::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};

use crate::providers::codec::hmac;

/// Maximum distance between time stamp and clock. For the RPC gateway the current page says 31 minutes, the older page
/// and the error text 15; for the API gateway it is 15.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Why a signature is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A part of the signature is missing, repeated or malformed, or a required part of the request is not signed.
    Incomplete,
    /// The time stamp is not `YYYY-MM-DDThh:mm:ssZ`.
    TimeFormat,
    /// The time stamp is more than [`WINDOW`] from the clock, in either direction.
    Expired,
    /// Wrong secret or altered request.
    Mismatch,
}

/// `at` in the format of both signatures: UTC, whole seconds.
pub fn time_stamp(at: Timestamp) -> String {
    let mut text = String::with_capacity(20);
    // Writing into a string does not fail.
    let _ = DateTimePrinter::new().precision(Some(0)).print_timestamp(&at, &mut text);
    text
}

/// Checks that `text` is a time stamp within [`WINDOW`] of `now`.
///
/// # Errors
/// [`Flaw::TimeFormat`] or [`Flaw::Expired`].
pub fn check_time(text: &str, now: Timestamp) -> Result<(), Flaw> {
    let at: Timestamp = text.parse().map_err(|_| Flaw::TimeFormat)?;
    // The parser also accepts offsets, fractions and lower case; the gateway does not.
    if time_stamp(at) != text {
        return Err(Flaw::TimeFormat);
    }
    if now.duration_since(at).abs() <= WINDOW { Ok(()) } else { Err(Flaw::Expired) }
}

/// When a request with the time stamp `text` expires; `None` if `text` is not a time stamp.
pub fn end_of(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok()?.checked_add(WINDOW).ok()
}

/// Compares signatures in constant time.
///
/// # Errors
/// [`Flaw::Mismatch`].
pub fn compare(expected: &str, presented: &str) -> Result<(), Flaw> {
    let is_equal = hmac::is_equal(expected.as_bytes(), presented.as_bytes());
    is_equal.then_some(()).ok_or(Flaw::Mismatch)
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
}
