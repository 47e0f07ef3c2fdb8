//! What the process tells about itself, on standard error. Requests have their own lines (`server::http::access_log`).
//!
//! Invariant: whatever level is configured, the HTTP and TLS libraries stay at warnings: their debug lines hold headers
//! and URLs. A panic tells where, never what: its message may quote a value.

use std::io::{IsTerminal, stderr};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::config::{Format, Log};

/// The crates whose finer lines hold headers, URLs or bodies.
const QUIET: [&str; 8] = ["axum", "h2", "hyper", "hyper_util", "reqwest", "rustls", "tower", "tower_http"];

/// Sends events to standard error from now on, and keeps panics from telling values.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> Result<(), ParseError> {
    // Two filters, since a directive of the configuration's could be finer than any that is put beside it.
    let filter = EnvFilter::try_new(&log.level)?.and(filter_fn(may_be_told));
    let events = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    // A second start (two gateways in one process) keeps the first; that is no reason to fail.
    let _ = match log.format {
        Format::Json => {
            tracing_subscriber::registry().with(events.json().flatten_event(true).with_filter(filter)).try_init()
        }
        Format::Text => tracing_subscriber::registry().with(events.with_target(false).with_filter(filter)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(place, "panicked; the request that did is answered 500");
    }));
    Ok(())
}

fn may_be_told(event: &Metadata<'_>) -> bool {
    let source = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !QUIET.contains(&source)
}
