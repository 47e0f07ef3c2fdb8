//! The log of the process on standard error. Requests are logged separately (`server::http::access_log`).
//!
//! Invariants: the HTTP and TLS libraries never log below warnings, whatever the level, because their debug lines
//! contain headers and URLs. A panic is logged with its location, never with its message, which may contain personal
//! data.

use std::io::{self, IsTerminal, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::config::{Format, Log};
use crate::server::http::line_sink::{self, LineSink};

/// Crates whose debug lines contain headers, URLs or bodies.
const QUIET: [&str; 8] = ["axum", "h2", "hyper", "hyper_util", "reqwest", "rustls", "tower", "tower_http"];

/// Standard error of the whole process, which has one global subscriber.
static SINK: OnceLock<LineSink> = OnceLock::new();

/// How long the end of the process waits for an output that may hang.
pub(super) const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Passes each event, which the formatter writes in one piece, to the sink.
#[derive(Clone)]
struct Events(LineSink);

/// Starts logging to standard error, and removes messages from panic reports.
///
/// # Errors
/// When the level is not a valid filter, or the system cannot start a thread.
pub fn start(log: &Log) -> anyhow::Result<()> {
    // A separate filter, because a more specific directive in the configuration would override one added to the first.
    let filter = EnvFilter::try_new(&log.level)?.and(filter_fn(may_be_logged));
    // A reader of standard error that hangs must not stop the workers.
    let sink = LineSink::start("log", stderr(), Duration::ZERO, line_sink::lost("process")?)?;
    let sink = SINK.get_or_init(|| sink).clone();
    let events = tracing_subscriber::fmt::layer().with_writer(Events(sink)).with_ansi(stderr().is_terminal());
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

/// The sink, once logging has started.
pub(super) fn sink() -> Option<&'static LineSink> {
    SINK.get()
}

/// Waits until the log is written, but not for an output that hangs.
pub(super) fn flush() {
    if let Some(sink) = SINK.get() {
        sink.flush(LAST_FLUSH);
    }
}

fn may_be_logged(event: &Metadata<'_>) -> bool {
    let source = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !QUIET.contains(&source)
}

impl<'a> MakeWriter<'a> for Events {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Events {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.push(|bytes| bytes.extend_from_slice(event));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
