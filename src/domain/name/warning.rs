//! What may keep a valid name from matching.

use std::fmt;

/// Something about a sound name that may keep it from matching. Declared in the order of the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
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

impl Warning {
    /// All of them, sorted by their words.
    pub const ALL: &'static [Warning] = <Self as strum::VariantArray>::VARIANTS;

    /// The word used in the API and the vectors.
    pub fn as_str(self) -> &'static str {
        self.into()
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
        Warning::ALL.iter().copied().filter(move |&warning| self.contains(warning))
    }

    pub(super) fn raise(&mut self, warning: Warning, when: bool) {
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
