//! Warnings: reasons why a valid name may not match.

use std::fmt;

/// A property of a valid name that may keep it from matching. Variants are sorted by their names in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
#[repr(u8)]
pub enum Warning {
    /// A compatibility ideograph: not the same code point as the character it looks like.
    CompatIdeograph,
    MixedScript,
    /// A private-use character, as found in older registries.
    Pua,
    SingleCharacter,
    /// A space between two Han characters was removed; it may have been meant as a separator.
    SpaceRemoved,
    /// U+25CB, which older systems used for the ideographic zero.
    SymbolZero,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Warnings(u8);

impl Warning {
    /// Sorted by name.
    pub const ALL: &'static [Warning] = <Self as strum::VariantArray>::VARIANTS;

    /// The name used in the API and the test vectors.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Warnings {
    pub const fn contains(self, warning: Warning) -> bool {
        self.0 & warning.bit() != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Sorted by name.
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
