//! What a client or a provider may be called.

use super::Read;

/// A name is a metric label and stands in logs.
pub(super) fn check_name(at: &str, name: &str, read: &mut Read) {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        read.mistake(at, "is no good name; write lower-case letters, digits and _ (it is a metric label)");
    }
}
