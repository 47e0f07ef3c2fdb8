//! Reasons for refusing a name, and what to do about them.

pub const MAX_CODE_POINTS: usize = 100;

/// Why a text is not a valid name. Never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.detail())]
pub enum InvalidName {
    /// Nothing but white space and invisible characters.
    Empty,
    /// Control characters, U+FFFD or noncharacters: the text was corrupted in transit.
    BadEncoding,
    /// A sign in place of a missing character, such as `*`, `?` or a box.
    Placeholder,
    /// A separator at the start or the end, doubled, or with nothing to separate.
    BadSeparator,
    /// A letter of a script that a card never shows on its own.
    UnsupportedScript,
    /// Digits, brackets and other characters that no name has.
    BadCharacter,
    /// More than [`MAX_CODE_POINTS`].
    TooLong,
    /// No Han character, although the number is a mainland citizen's. A rule about the pair, see
    /// [`PairRules`](crate::domain::subject::PairRules).
    NameScript,
}

impl InvalidName {
    /// The name used in the API and the test vectors.
    pub const fn reason(self) -> &'static str {
        match self {
            InvalidName::Empty => "empty",
            InvalidName::BadEncoding => "bad_encoding",
            InvalidName::Placeholder => "placeholder",
            InvalidName::BadSeparator => "bad_separator",
            InvalidName::UnsupportedScript => "unsupported_script",
            InvalidName::BadCharacter => "bad_character",
            InvalidName::TooLong => "too_long",
            InvalidName::NameScript => "name_script",
        }
    }

    /// One sentence that tells the user what to do.
    pub const fn detail(self) -> &'static str {
        match self {
            InvalidName::Empty => "Give the name.",
            InvalidName::BadEncoding => "Send the name as intact UTF-8: it holds control or replacement characters.",
            InvalidName::Placeholder => {
                "Give the whole name: a sign such as * ? _ or a box stands in place of a character."
            }
            InvalidName::BadSeparator => {
                "Put the separator (U+00B7) or full stop only between the parts of the name, one at a time."
            }
            InvalidName::UnsupportedScript => "Give the name in the Han or Latin script, as on the card.",
            InvalidName::BadCharacter => {
                "Give the name only: digits, brackets and signs that no name has are not accepted."
            }
            InvalidName::TooLong => "Give one name of at most 100 characters.",
            InvalidName::NameScript => "Give the name in Han characters, as every resident ID card shows it.",
        }
    }
}
