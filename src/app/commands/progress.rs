//! Progress bars.

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on standard error; hidden unless that is a terminal.
pub(super) fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {eta}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
