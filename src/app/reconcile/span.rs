//! The time range of an export.

/// The time range of an export, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Every call entirely within this range must be in the export.
    pub(super) inside: (i64, i64),
    /// A call that only partly overlaps this range may be in this export or in the one before or after it.
    pub(super) around: (i64, i64),
}
