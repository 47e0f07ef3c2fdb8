//! The log of the process on standard error. Requests are logged separately (`server::http::access_log`).
//!
//! Invariants: the HTTP and TLS libraries never log below warnings, whatever the level, because their debug lines
//! contain headers and URLs. A panic is logged with its location, never with its message, which may contain personal
//! data.

use std::io::{IsTerminal, stderr};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::config::{Format, Log};

/// Crates whose debug lines contain headers, URLs or bodies.
const QUIET: [&str; 8] = ["axum", "h2", "hyper", "hyper_util", "reqwest", "rustls", "tower", "tower_http"];

/// Starts logging to standard error, and removes messages from panic reports.
///
/// # Errors
/// When the level is not a valid filter.
pub fn start(log: &Log) -> Result<(), ParseError> {
    // A separate filter, because a more specific directive in the configuration would override one added to the first.
    let filter = EnvFilter::try_new(&log.level)?.and(filter_fn(may_be_logged));
    let events = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    // With two gateways in one process, the first configuration stays; this is not an error.
    let _ = match log.format {
        Format::Json => {
            tracing_subscriber::registry().with(events.json().flatten_event(true).with_filter(filter)).try_init()
        }
        Format::Text => tracing_subscriber::registry().with(events.with_target(false).with_filter(filter)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(place, "a request panicked and got 500; this is a bug in idgate, please report the place");
    }));
    Ok(())
}

fn may_be_logged(event: &Metadata<'_>) -> bool {
    let source = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !QUIET.contains(&source)
}
