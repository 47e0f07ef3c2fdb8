//! Files that are made belong to this user alone, whatever the umask says.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

/// Options for a file with the mode 0600, if opening it makes it.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
