//! Amounts, prices, and whether a call was paid for.

use crate::domain::verdict::Verdict;

/// An amount in millionths of a yuan. Market prices go down to 1.7 fen (17,000) a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MicroYuan(pub u64);

/// Whether the provider charged for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Billed {
    /// It charges for this answer by its own price list.
    Yes,
    /// It does not.
    No,
    /// Nobody outside the provider can tell.
    Unknown,
}

impl Billed {
    /// All three, for metrics.
    pub const ALL: [Billed; 3] = [Billed::Yes, Billed::No, Billed::Unknown];

    /// The word used in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Billed::Yes => "yes",
            Billed::No => "no",
            Billed::Unknown => "unknown",
        }
    }
}

/// What a provider charges per verdict; an amount of zero means: not billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// Price of a `match`.
    pub on_match: MicroYuan,
    /// Price of a `mismatch`.
    pub on_mismatch: MicroYuan,
    /// Price of a `no_record`.
    pub on_no_record: MicroYuan,
}

impl Prices {
    /// The price of `verdict`.
    pub const fn of(&self, verdict: Verdict) -> MicroYuan {
        match verdict {
            Verdict::Match => self.on_match,
            Verdict::Mismatch => self.on_mismatch,
            Verdict::NoRecord => self.on_no_record,
        }
    }

    /// Whether `verdict` is charged for.
    pub const fn billed(&self, verdict: Verdict) -> Billed {
        if self.of(verdict).0 == 0 { Billed::No } else { Billed::Yes }
    }
}
