//! The log of the process on standard error. Requests are logged separately (`server::http::access_log`).
//!
//! Invariants: the HTTP and TLS libraries never log below warnings, whatever the level, because their debug lines
//! contain headers and URLs. No place in the code writes more than `MOST` lines a second, because a stranger may be
//! the cause; the others are counted, and a line says so. A panic is logged with its location, never with its message,
//! which may contain personal data.

use std::collections::HashMap;
use std::io::{self, IsTerminal, stderr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tracing::callsite::Identifier;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::config::{Format, Log};
use crate::server::http::line_sink::{self, LineSink};
use crate::server::http::sampler::Sampler;
use crate::server::log_level::LogLevel;

/// Crates whose debug lines contain headers, URLs or bodies.
const QUIET: [&str; 8] = ["axum", "h2", "hyper", "hyper_util", "reqwest", "rustls", "tower", "tower_http"];

/// The most lines a second from one place in the code.
const MOST: u32 = 50;

/// Standard error of the whole process, which has one global subscriber.
static SINK: OnceLock<Events> = OnceLock::new();

/// The filter of that subscriber, and the one that is configured.
static FILTER: OnceLock<(reload::Handle<Targets, Registry>, Targets)> = OnceLock::new();

/// How long the end of the process waits for an output that may hang.
pub(super) const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Passes each event, which the formatter writes in one piece, to the sink.
#[derive(Debug, Clone)]
struct Events {
    sink: LineSink,
    places: Arc<Places>,
    left_out: IntCounter,
}

/// The places in the code that write to the log.
#[derive(Debug, Default)]
struct Places(Mutex<HashMap<Identifier, Sampler>>);

/// Writes one event, or discards it.
struct Event<'a>(Option<&'a LineSink>);

/// Starts logging to standard error, and removes messages from panic reports.
///
/// # Errors
/// When the level is not a valid filter, or the system cannot start a thread.
pub fn start(log: &Log) -> anyhow::Result<()> {
    // A separate filter, because a more specific directive in the configuration would override one added to the first.
    let configured = log.filter()?;
    let (filter, handle) = reload::Layer::new(configured.clone());
    let filter = filter.and(filter_fn(may_be_logged));
    // A reader of standard error that hangs must not stop the workers.
    let places = Arc::<Places>::default();
    let of_thread = Arc::clone(&places);
    let remark = move |_: &mut Vec<u8>| of_thread.remark();
    let sink = LineSink::start("log", stderr(), Duration::ZERO, line_sink::lost("process")?, remark)?;
    let events = Events { sink, places, left_out: line_sink::left_out("process")? };
    let events = SINK.get_or_init(|| events).clone();
    let events = tracing_subscriber::fmt::layer().with_writer(events).with_ansi(stderr().is_terminal());
    // With two gateways in one process, the first configuration stays; this is not an error.
    let is_first = match log.format {
        Format::Json => {
            tracing_subscriber::registry().with(events.json().flatten_event(true).with_filter(filter)).try_init()
        }
        Format::Text => tracing_subscriber::registry().with(events.with_target(false).with_filter(filter)).try_init(),
    };
    if is_first.is_ok() {
        let _ = FILTER.set((handle, configured));
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(place, "a request panicked and got 500; this is a bug in idgate, please report the place");
    }));
    Ok(())
}

/// The counts of lines that were lost and of those that were left out, once logging has started.
pub(super) fn counters() -> Vec<IntCounter> {
    SINK.get().into_iter().flat_map(|events| [events.sink.lost().clone(), events.left_out.clone()]).collect()
}

/// Waits until the log is written, but not for an output that hangs. Returns whether all that was left was
/// written.
pub fn end() -> bool {
    SINK.get().is_none_or(|events| events.sink.end(LAST_FLUSH))
}

/// The level of the log, for operators who change it.
pub(super) fn log_level() -> LogLevel {
    LogLevel::new(Box::new(|level| {
        let Some((handle, configured)) = FILTER.get() else { return false };
        let filter = match level.map(|level| <&str>::from(level).parse::<LevelFilter>()) {
            None => configured.clone(),
            // Libraries may log what they send, such as statements.
            Some(Ok(level)) => Targets::new().with_default(level.min(LevelFilter::INFO)).with_target("idgate", level),
            Some(Err(_)) => return false,
        };
        handle.reload(filter).is_ok()
    }))
}

fn may_be_logged(event: &Metadata<'_>) -> bool {
    let source = event.target().split("::").next().unwrap_or_default();
    *event.level() <= Level::WARN || !QUIET.contains(&source)
}

impl Places {
    /// Whether this place may write another line.
    fn may_write(&self, place: Identifier) -> bool {
        let mut samplers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samplers.entry(place).or_default().passes(MOST)
    }

    /// Says how many lines were left out. Runs on the thread of the sink, whose queue takes the line like any other.
    fn remark(&self) {
        let samplers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: u64 = samplers.values().map(Sampler::take_left_out).sum();
        drop(samplers);
        if lines > 0 {
            tracing::warn!(
                lines,
                most = MOST,
                "log lines were left out, as one place in the code wrote too many a second"
            );
        }
    }
}

impl<'a> MakeWriter<'a> for Events {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event(Some(&self.sink))
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Event<'a> {
        let may_write = self.places.may_write(event.callsite());
        if !may_write {
            self.left_out.inc();
            self.sink.owe_remark();
        }
        Event(may_write.then_some(&self.sink))
    }
}

impl io::Write for Event<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some(sink) = self.0 {
            sink.push(|bytes| bytes.extend_from_slice(event));
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
