//! Names: parsed once into the one spelling that is sent and keyed on, with warnings about what may not match.
//!
//! Invariant: a [`Name`] holds its normal form, which parses to itself. Normalising undoes only what input methods and
//! copying do; it never turns one registered character into another, because providers compare code points (the data
//! README has the rules, `identity.md` the reasons). To add a rule: in `normal.rs`, at its rank; add a row to the vectors.

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

/// A sound name in its normal form; wiped on drop.
#[derive(Clone)]
pub struct Name {
    text: Personal,
    warnings: Warnings,
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
