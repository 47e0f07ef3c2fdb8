//! What the process tells about itself, on standard error. Requests have their own lines (`server::access_log`).
//!
//! Invariant: whatever level is configured, the HTTP and TLS libraries stay at warnings: their debug lines hold headers
//! and URLs. A panic tells where, never what: its message may quote a value.

use std::io::stderr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::config::{Format, Log};

const QUIET: &str = "hyper=warn,hyper_util=warn,h2=warn,rustls=warn,tower=warn";

/// Sends events to standard error from now on, and keeps panics from telling values.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(format!("{},{QUIET}", log.level))?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A second start (two gateways in one process) keeps the first; that is no reason to fail.
    let _ = match log.format {
        Format::Json => events.json().flatten_event(true).try_init(),
        Format::Text => events.with_target(false).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(place, "panicked; the request that did is answered 500");
    }));
    Ok(())
}
