//! Verdicts: the values of a provider's documented verdict field. Nothing else counts as a verdict.

use super::disclosure::may_hold_number;

/// The answer to a question. A mismatch is an answer like any other, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Verdict {
    /// Name and number belong together.
    Match,
    /// The number exists but belongs to another name.
    Mismatch,
    /// The authoritative source does not know the number.
    NoRecord,
}

impl Verdict {
    pub const ALL: [Verdict; 3] = [Verdict::Match, Verdict::Mismatch, Verdict::NoRecord];

    /// The name used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A verdict with the provider's reference for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// The provider's reference for the call, if it gave a well-formed one.
    pub request_id: Option<RequestId>,
}

/// A provider's reference for one call: at most 64 characters of `A-Z a-z 0-9 - _ .`. It cannot contain a Han
/// name, and never contains an ID number (see [`RequestId::parse`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Parses a reference as the provider sent it; `None` if it is malformed.
    ///
    /// A reference with 15 or more consecutive digits, or with what may be an ID number of any kind, is dropped. Otherwise
    /// a provider that echoes the ID number there would get it into our logs.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut plain, mut digits, mut most_digits) = (true, 0, 0);
        for byte in text.bytes() {
            plain &= byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            most_digits = most_digits.max(digits);
        }
        let sound = plain && (1..=64).contains(&text.len()) && most_digits < 15 && !may_hold_number(text);
        sound.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_cannot_carry_a_person() {
        assert!(RequestId::parse("130A2C10-B9EE-4D84-88E3-5384FF039795").is_some());
        for bad in [
            "",
            "张三",
            "11010519491231002X",
            "110105-19491231-002x",
            "110105-491231-002",
            "USA310119850101",
            "a b",
            "x\n",
            &"a".repeat(65),
        ] {
            assert_eq!(RequestId::parse(bad), None, "{bad:?}");
        }
    }
}
