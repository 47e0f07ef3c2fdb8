//! How far apart entries may be before somebody must look at the clock.

use std::time::Duration;

/// The time that a gateway may have been down, or without a question.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// How much later than expected an entry may be, if entries are kept for `keep`.
pub(super) fn longest_jump(keep: Duration) -> Duration {
    LONGEST.min(keep / 2)
}
