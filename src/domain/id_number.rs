//! (stub)

/// What kind of document a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Second-generation resident ID card.
    Resident,
    /// First-generation number of 15 digits, converted.
    Resident15,
    /// Residence permit of Hong Kong, Macao or Taiwan residents (81, 82, 83).
    HmtResidence,
    /// Foreign permanent residence card of 2023 (leading 9).
    ForeignerPr,
    /// The same, card of 2017: three letters and twelve digits.
    ForeignerPr2017,
}
