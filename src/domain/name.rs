//! Names: parsed once into the one spelling that is sent and keyed on, with warnings about what may not match.
//!
//! Invariant: a [`Name`] holds its normal form, which parses to itself. Normalising undoes only what input methods and
//! copying do; it never turns one registered character into another, because providers compare code points (the data
//! README has the rules, `identity.md` the reasons). To add a rule: in `normal.rs`, at its rank; add a row to the vectors.

use std::fmt;

use crate::domain::personal::Personal;
use crate::domain::script;

mod normal;
#[cfg(test)]
mod tests;

/// The most code points that a name may have.
pub const MAX_CODE_POINTS: usize = 100;

/// Why a text is no name. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.detail())]
pub enum InvalidName {
    /// Nothing but white space and invisible characters.
    Empty,
    /// Control characters, U+FFFD or noncharacters: the text was damaged on its way.
    BadEncoding,
    /// A sign that stands for a character which is not there.
    Placeholder,
    /// A separator first, last, doubled or in a place where it separates nothing.
    BadSeparator,
    /// A letter of a script that is never on its own on the card.
    UnsupportedScript,
    /// Digits, brackets and whatever else no name has.
    BadCharacter,
    /// More than [`MAX_CODE_POINTS`].
    TooLong,
    /// No Han character, with the number of a mainland citizen (a rule about the pair, see
    /// [`PairRules`](crate::domain::subject::PairRules)).
    NameScript,
}

/// Something about a sound name that may keep it from matching. Declared in the order of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Warning {
    /// A compatibility ideograph: another code point than the character it looks like.
    CompatIdeograph,
    /// Han and Latin characters together.
    MixedScript,
    /// A private-use character, as older registries hold them.
    Pua,
    /// A single character.
    SingleCharacter,
    /// A space between two Han characters was removed; it may have stood for a separator.
    SpaceRemoved,
    /// U+25CB, which stood for the ideographic zero in older systems.
    SymbolZero,
}

/// A set of [`Warning`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Warnings(u8);

/// A sound name in its normal form; wiped on drop.
#[derive(Clone)]
pub struct Name {
    text: Personal,
    warnings: Warnings,
}

impl InvalidName {
    /// The word used in the API and the vectors.
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

    /// One sentence that tells a person what to do.
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

impl Warning {
    /// All of them, sorted by their words.
    pub const ALL: [Warning; 6] = [
        Warning::CompatIdeograph,
        Warning::MixedScript,
        Warning::Pua,
        Warning::SingleCharacter,
        Warning::SpaceRemoved,
        Warning::SymbolZero,
    ];

    /// The word used in the API and the vectors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Warning::CompatIdeograph => "compat_ideograph",
            Warning::MixedScript => "mixed_script",
            Warning::Pua => "pua",
            Warning::SingleCharacter => "single_character",
            Warning::SpaceRemoved => "space_removed",
            Warning::SymbolZero => "symbol_zero",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Warnings {
    /// Whether it holds `warning`.
    pub const fn contains(self, warning: Warning) -> bool {
        self.0 & warning.bit() != 0
    }

    /// Whether there is nothing to warn about.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its warnings, sorted by their words.
    pub fn iter(self) -> impl Iterator<Item = Warning> {
        Warning::ALL.into_iter().filter(move |&warning| self.contains(warning))
    }

    fn raise(&mut self, warning: Warning, when: bool) {
        if when {
            self.0 |= warning.bit();
        }
    }
}

impl fmt::Debug for Warnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Warning::as_str)).finish()
    }
}

impl Name {
    /// Normalises `input` and checks it against the rules of the data README, in their order.
    pub fn parse(input: &str) -> Result<Self, InvalidName> {
        if is_plain(input) {
            return Ok(Self { text: Personal::new(input), warnings: Warnings::default() });
        }
        let (text, warnings) = normal::form(input)?;
        Ok(Self { text, warnings })
    }

    /// The normal form, to send and to key on.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Its length; providers limit it.
    pub fn code_points(&self) -> usize {
        self.expose().chars().count()
    }

    /// What may keep it from matching.
    pub const fn warnings(&self) -> Warnings {
        self.warnings
    }

    /// Whether a registry may hold a character of it at another code point: one of the 80 that moved out of private use,
    /// in either form.
    pub fn has_alternate_spelling(&self) -> bool {
        // The only text beyond ASCII in that table is the assigned characters themselves (a test says so); their old
        // code points are one run.
        const TABLE: &str = include_str!("data/pua_gb18030.csv");
        self.expose().chars().any(|c| matches!(c, '\u{E815}'..='\u{E864}') || (!c.is_ascii() && TABLE.contains(c)))
    }

    /// Whether it has a Han or a private-use character, without which no resident card is written.
    pub fn has_han_or_private_use(&self) -> bool {
        self.expose().chars().any(script::is_han)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(…)")
    }
}

/// Two to four characters of the basic ideograph block, as nearly all names are: nothing to normalise, nothing to warn of.
fn is_plain(input: &str) -> bool {
    matches!(input.len(), 6 | 9 | 12) && input.chars().all(|c| matches!(c, '\u{4E00}'..='\u{9FFF}'))
}
