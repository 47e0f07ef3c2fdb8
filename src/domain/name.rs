//! Names, parsed into the one spelling that is sent and used in keys, with warnings about what may not match.
//!
//! Invariant: a [`Name`] holds its normal form, which parses to itself. Normalising only undoes what input methods and
//! copying do. It never turns one registered character into another, because providers compare code points. To add a
//! rule, put it at its place in `normal.rs` and add rows to `tests/fixtures/data/names.csv`.

use std::fmt;

use crate::domain::personal::Personal;
use crate::domain::script;

mod invalid;
mod normal;
#[cfg(test)]
mod tests;
mod warning;

pub use invalid::{InvalidName, MAX_CODE_POINTS};
pub use warning::{Warning, Warnings};

/// A valid name in its normal form; wiped on drop.
#[derive(Clone)]
pub struct Name {
    text: Personal,
    warnings: Warnings,
}

impl Name {
    /// Normalises `input` and validates it. The first rule that fails gives the error.
    pub fn parse(input: &str) -> Result<Self, InvalidName> {
        if is_plain(input) {
            return Ok(Self { text: Personal::new(input), warnings: Warnings::default() });
        }
        let (text, warnings) = normal::form(input)?;
        Ok(Self { text, warnings })
    }

    /// The normal form, for providers and keys.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Length in code points, which providers limit.
    pub fn code_points(&self) -> usize {
        self.expose().chars().count()
    }

    /// What may keep the name from matching.
    pub const fn warnings(&self) -> Warnings {
        self.warnings
    }

    /// Whether a registry may store one of its characters at another code point. True for the 80 characters that moved
    /// out of private use, in either form, and for the radicals that stand for no ideograph.
    pub fn has_alternate_spelling(&self) -> bool {
        // Apart from ASCII, the table contains only the assigned characters themselves (a test checks this). Their old
        // code points are one contiguous range.
        const TABLE: &str = include_str!("data/pua_gb18030.csv");
        self.expose().chars().any(|c| {
            matches!(c, '\u{E815}'..='\u{E864}' | '\u{2E80}'..='\u{2EF3}') || (!c.is_ascii() && TABLE.contains(c))
        })
    }

    /// Whether it has a Han or a private-use character. Every name on a resident ID card has one.
    pub fn has_han_or_private_use(&self) -> bool {
        self.expose().chars().any(script::is_han)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(…)")
    }
}

/// Two to four characters of the basic ideograph block, as in nearly all names: nothing to normalise or to warn about.
fn is_plain(input: &str) -> bool {
    matches!(input.len(), 6 | 9 | 12) && input.chars().all(|c| matches!(c, '\u{4E00}'..='\u{9FFF}'))
}
