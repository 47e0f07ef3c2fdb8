//! Verdicts: the values of a provider's documented verdict field. Nothing else counts as a verdict.

use super::disclosure::{holds_person, may_hold_number};
use super::personal::Personal;
use super::subject::{DigestKey, Subject};

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

/// A provider's reference for one call: at most 64 characters of `A-Z a-z 0-9 - _ .`. It cannot contain a Han name. One
/// that may contain an ID number is shown only as a keyed digest, by which the provider's export still finds the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Plain(Box<str>),
    /// Has no text to show before it is [`RequestId::sealed`].
    Suspect(Personal),
}

impl RequestId {
    /// A reference whose text [`Self::parse`] has found to be plain before; `None` if it is empty.
    pub(crate) fn of_plain(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Text::Plain(text.into())))
    }

    /// Parses a reference as the provider sent it; `None` if it is malformed.
    ///
    /// One with 15 or more consecutive digits, or with what may be an ID number of any kind, is suspect: a provider that
    /// echoes the ID number there would get it into our logs.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut plain, mut digits, mut most_digits) = (true, 0, 0);
        for byte in text.bytes() {
            plain &= byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            most_digits = most_digits.max(digits);
        }
        let is_suspect = most_digits >= 15 || may_hold_number(text);
        (plain && (1..=64).contains(&text.len()))
            .then(|| Self(if is_suspect { Text::Suspect(Personal::new(text)) } else { Text::Plain(text.into()) }))
    }

    /// Replaces a reference that is suspect, or that contains the number or the name of `subject`, by its digest.
    #[must_use]
    pub fn sealed(self, key: &DigestKey, subject: &Subject) -> Self {
        match &self.0 {
            Text::Plain(text) if !holds_person(text, subject.name(), subject.id_number()) => self,
            Text::Plain(text) => Self::digest_of(text, key),
            Text::Suspect(text) => Self::digest_of(text.expose(), key),
        }
    }

    /// What stands in our records for a reference with this text, if it was sealed. Letters only, so that it cannot look
    /// like a number itself.
    pub fn digest_of(text: &str, key: &DigestKey) -> Self {
        let digest = key.digest("request-id/v1", &[text.as_bytes()]);
        let letter = |half: u8| char::from(b'a' + half);
        let letters = digest.as_bytes().iter().take(16).flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]);
        Self(Text::Plain(SEALED.chars().chain(letters).collect::<String>().into()))
    }

    /// The text to show; empty for one that has yet to be sealed.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Plain(text) => text,
            Text::Suspect(_) => "",
        }
    }
}

/// The beginning of a sealed reference.
const SEALED: &str = "digest-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id_number::{Calendar, IdNumber};
    use crate::domain::name::Name;
    use crate::domain::subject::PairRules;

    fn sealed(text: &str, name: &str, number: &str) -> Option<String> {
        let (name, rules) = (Name::parse(name).unwrap(), PairRules::default());
        let number = IdNumber::parse(number, jiff::civil::date(2026, 11, 22), Calendar::Strict).unwrap();
        let subject = Subject::new(name, number, rules).unwrap();
        Some(RequestId::parse(text)?.sealed(&DigestKey::new([7; 32]), &subject).as_str().to_owned())
    }

    #[test]
    fn a_request_id_cannot_carry_a_person() {
        let of = |text: &str| sealed(text, "张三", "11010519491231002X");
        let uuid = "130A2C10-B9EE-4D84-88E3-5384FF039795";
        assert_eq!(of(uuid).as_deref(), Some(uuid));
        for bad in ["", "张三", "a b", "x\n", &"a".repeat(65)] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
        for suspect in
            ["11010519491231002X", "110105-19491231-002x", "110105-491231-002", "USA310119850101", "123456789012345"]
        {
            let shown = of(suspect).unwrap();
            assert!(shown.starts_with("digest-") && !shown.contains(|c: char| c.is_ascii_digit()), "{shown}");
            assert_eq!(RequestId::parse(&shown).unwrap().as_str(), shown, "it is read again from the ledger");
            assert!(!format!("{:?}", RequestId::parse(suspect)).contains(&suspect[..6]));
        }
        assert!(sealed("call-SmithJohn", "SMITH JOHN", "ABC110119850101").unwrap().starts_with("digest-"));
    }

    #[test]
    fn a_reference_that_looks_like_a_number_is_found_again_under_the_same_key_only() {
        let shown = sealed("0110105194912310038-1", "张三", "11010519491231002X").unwrap();
        let again = |key: [u8; 32]| RequestId::digest_of("0110105194912310038-1", &DigestKey::new(key));
        assert_eq!(again([7; 32]).as_str(), shown);
        assert_ne!(again([8; 32]).as_str(), shown);
    }
}
