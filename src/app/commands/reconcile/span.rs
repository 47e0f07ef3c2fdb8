//! The time that an export covers.

/// The time that an export covers, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Every call that lies wholly inside must be there.
    pub(super) inside: (i64, i64),
    /// A call that reaches into this, and is not wholly inside, may be there, or in the export before or after it.
    pub(super) around: (i64, i64),
}
