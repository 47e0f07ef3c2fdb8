//! Entries by the time that is in their id.

use uuid::Uuid;

/// An id is made when its question begins, and its entry tells when that ended: so much later at most.
pub(super) const LONGEST_QUESTION_MS: i64 = 60 * 60 * 1000;

/// The smallest id of this time (milliseconds since 1970): as a bound, it need not be one itself.
pub(super) fn first_id(ms: i64) -> Uuid {
    let ms = u128::try_from(ms.clamp(0, (1 << 48) - 1)).unwrap_or_default();
    Uuid::from_u128(ms << 80 | 7 << 76)
}
