//! The access log: one JSON line per request. It has no body, query, person or secret, because the type of a line has
//! no field for them.
//!
//! A line is written into a buffer of its thread, and copied from there under the lock of the sink.
//!
//! Lines are collected and written a few times a second, so that no request pays for a system call. A stuck or full
//! output loses lines, which are counted, and delays nothing ([`LineSink`]); `kill -9` loses what was collected.
//!
//! Requests of nobody we know have a limited number of lines a second and listener, and one line that says how many were
//! left out. A client's or operator's request always has its line.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::IntCounter;

use super::line_sink::{self, LineSink};
use super::sampler::Sampler;
use super::timestamp::Written;
use crate::json_writer::Object;

const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// The kind of a line about a request on the public listener, and on the admin listener.
pub(in crate::server) const REQUEST: &str = "request";
pub(in crate::server) const ADMIN_REQUEST: &str = "admin_request";

/// The output of the access log; `None` discards all lines. Clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Output>);

#[derive(Debug, Clone)]
struct Output {
    sink: LineSink,
    strangers: Arc<[Strangers; 2]>,
    /// The most lines a second and listener about requests of nobody we know.
    strangers_per_second: u32,
    left_out: IntCounter,
}

/// The requests of nobody we know on one listener.
#[derive(Debug)]
struct Strangers {
    /// Of their lines.
    kind: &'static str,
    listener: &'static str,
    sampler: Sampler,
    /// When the last request ended whose line was left out. The thread of the sink has no clock.
    last: Mutex<Timestamp>,
}

thread_local! {
    /// The line that is being written.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One request.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Line<'a> {
    /// When the request ended (RFC 3339, UTC).
    #[cfg_attr(test, serde(skip))]
    pub time: Timestamp,
    /// `request`, or `admin_request` on the admin listener, to tell these lines from others.
    pub kind: &'static str,
    /// The `X-Request-Id` of the answer.
    pub request_id: &'a str,
    /// The caller's trace id, if it sent one.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub trace_id: Option<&'a str>,
    /// The method, such as `POST`, from a closed set.
    pub method: &'a str,
    /// The route pattern, never the path that was sent.
    pub route: &'a str,
    /// The driver whose protocol the request is in; `None` for our own API.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub protocol: Option<&'static str>,
    pub status: u16,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub client: Option<&'a str>,
    /// Public id of the client's key.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub key_id: Option<&'a str>,
    /// The operator, on the admin listener.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub operator: Option<&'a str>,
    /// Public id of the client's certificate.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub certificate_id: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub purpose: Option<&'a str>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub reference: Option<&'a str>,
    /// The `verification_id` of the answer.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub verification_id: Option<uuid::Uuid>,
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub verdict: Option<&'static str>,
    /// The code of the problem.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub code: Option<&'static str>,
    /// The rule that the request violated.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub reason: Option<&'static str>,
    /// `provider`, `shared` or `cache`.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub source: Option<&'static str>,
    /// The provider that gave the verdict.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub provider: Option<&'a str>,
    /// The provider's reference.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub provider_request_id: Option<&'a str>,
    /// The attempts, as `provider/endpoint=outcome(billed)`.
    #[cfg_attr(test, serde(skip_serializing_if = "Vec::is_empty"))]
    pub attempts: Vec<String>,
    /// Milliseconds from the request head to the response.
    pub duration_ms: f64,
}

impl AccessLog {
    /// # Errors
    /// If the system cannot start a thread.
    pub fn stdout() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    /// Appends to a file, which is created if missing.
    ///
    /// # Errors
    /// If the file cannot be opened for writing, or the system cannot start a thread.
    pub fn file(path: &Path) -> io::Result<Self> {
        // Opening a FIFO only for writing would wait for its reader.
        let is_fifo = path.metadata().is_ok_and(|found| found.file_type().is_fifo());
        Self::to(OpenOptions::new().create(!is_fifo).read(is_fifo).append(true).open(path)?)
    }

    /// Discards all lines, for tests and commands.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Writes at most this many lines a second and listener about requests of nobody we know.
    #[must_use]
    pub fn with_strangers_per_second(self, strangers_per_second: u32) -> Self {
        Self(self.0.map(|output| Output { strangers_per_second, ..output }))
    }

    fn to(output: impl io::Write + Send + 'static) -> io::Result<Self> {
        let strangers =
            |kind, listener| Strangers { kind, listener, sampler: Sampler::default(), last: Mutex::default() };
        let strangers = Arc::new([strangers(REQUEST, "public"), strangers(ADMIN_REQUEST, "admin")]);
        let of_thread = Arc::clone(&strangers);
        let remark = move |bytes: &mut Vec<u8>| of_thread.iter().for_each(|strangers| strangers.remark(bytes));
        let sink = LineSink::start("access-log", output, FLUSH_EVERY, line_sink::lost("access")?, remark)?;
        let left_out = line_sink::left_out("access")?;
        Ok(Self(Some(Output { sink, strangers, strangers_per_second: u32::MAX, left_out })))
    }

    pub fn write(&self, line: &Line<'_>) {
        let Some(output) = &self.0 else { return };
        if line.client.is_none() && line.operator.is_none() && !output.may_write_of_stranger(line) {
            return;
        }
        LINE.with_borrow_mut(|bytes| {
            bytes.clear();
            line.write(bytes);
            output.sink.push(|queue| queue.extend_from_slice(bytes));
        });
    }

    /// Waits until all lines are written, at most for `limit`. Returns whether they are. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.as_ref().is_none_or(|output| output.sink.flush(limit))
    }

    /// Flushes for the last time; what is not written within `limit` is counted as lost. Returns whether all lines of
    /// this process were written. Blocks the thread.
    pub fn end(&self, limit: Duration) -> bool {
        self.0.as_ref().is_none_or(|output| output.sink.end(limit))
    }

    /// The counts of lines that were lost and of those that were left out, to be registered.
    pub fn counters(&self) -> Vec<IntCounter> {
        self.0.iter().flat_map(|output| [output.sink.lost().clone(), output.left_out.clone()]).collect()
    }
}

impl Output {
    fn may_write_of_stranger(&self, line: &Line<'_>) -> bool {
        let Some(strangers) = self.strangers.iter().find(|strangers| strangers.kind == line.kind) else { return true };
        if strangers.sampler.passes(self.strangers_per_second) {
            return true;
        }
        *strangers.last.lock().unwrap_or_else(PoisonError::into_inner) = line.time;
        self.left_out.inc();
        self.sink.owe_remark();
        false
    }
}

impl Strangers {
    fn remark(&self, bytes: &mut Vec<u8>) {
        let lines = self.sampler.take_left_out();
        if lines > 0 {
            let time = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let mut line = Object::open(bytes);
            line.plain("time", Written::of(time).as_bytes());
            line.text("kind", "left_out");
            line.text("listener", self.listener);
            line.value("lines", &lines);
            line.close();
            bytes.push(b'\n');
        }
    }
}

impl Line<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut line = Object::open(bytes);
        line.plain("time", Written::of(self.time).as_bytes());
        line.word("kind", Some(self.kind));
        line.text("request_id", self.request_id);
        line.optional("trace_id", self.trace_id);
        line.word("method", Some(self.method));
        line.word("route", Some(self.route));
        line.word("protocol", self.protocol);
        line.value("status", &self.status);
        line.optional("client", self.client);
        line.optional("key_id", self.key_id);
        line.optional("operator", self.operator);
        line.optional("certificate_id", self.certificate_id);
        line.optional("purpose", self.purpose);
        line.optional("reference", self.reference);
        let mut id = uuid::Uuid::encode_buffer();
        line.word("verification_id", self.verification_id.map(|uuid| &*uuid.hyphenated().encode_lower(&mut id)));
        line.word("verdict", self.verdict);
        line.word("code", self.code);
        line.word("reason", self.reason);
        line.word("source", self.source);
        line.optional("provider", self.provider);
        line.optional("provider_request_id", self.provider_request_id);
        if !self.attempts.is_empty() {
            line.texts("attempts", self.attempts.iter().map(String::as_str));
        }
        line.value("duration_ms", &self.duration_ms);
        line.close();
        bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Line<'static> {
        Line {
            time: Timestamp::UNIX_EPOCH,
            kind: REQUEST,
            request_id: "r",
            trace_id: Some("t"),
            method: "POST",
            route: "/v1/verify",
            protocol: Some("p"),
            status: 200,
            client: Some("c\"\\\u{1}"),
            key_id: Some("k"),
            operator: Some("o"),
            certificate_id: Some("i"),
            purpose: Some("u"),
            reference: Some("f"),
            verification_id: Some(uuid::Uuid::max()),
            verdict: Some("match"),
            code: Some("internal"),
            reason: Some("n"),
            source: Some("cache"),
            provider: Some("v"),
            provider_request_id: Some("q"),
            attempts: vec!["a".to_owned(), "b".to_owned()],
            duration_ms: 0.125,
        }
    }

    #[test]
    fn no_member_is_forgotten_and_all_are_in_their_order() {
        for line in [whole(), Line::default()] {
            let mut written = Vec::new();
            line.write(&mut written);
            let rest = serde_json::to_string(&line).unwrap().split_off(1);
            let expected = format!("{{\"time\":\"1970-01-01T00:00:00.000Z\",{rest}\n");
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
