//! Output of the commands.

use std::io::{self, Write};

use anyhow::Context;

/// Writes to standard output. A reader that has gone, as in `idgate openapi | head -1`, is no error.
///
/// # Errors
/// When standard output cannot be written, for example on a full disk.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush()).context("standard output cannot be written");
    written.or_else(ignore_closed)
}

/// Turns the error of a closed pipe into success: the reader has all that it wants.
///
/// # Errors
/// Every other error.
pub(super) fn ignore_closed(error: anyhow::Error) -> anyhow::Result<()> {
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_closed) { Ok(()) } else { Err(error) }
}

pub(super) fn tell(error: &anyhow::Error) {
    remark(format!("{error:#}").trim_end());
}

/// Writes to standard error, if that can be written: the exit code tells the rest.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "idgate: {text}");
}
