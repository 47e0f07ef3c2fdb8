//! The access log: one JSON line per request. It has no body, query, person or secret, because the type of a line has
//! no field for them.
//!
//! Lines are collected and written a few times a second, so that no request pays for a system call. A stuck or full
//! output loses lines, which are counted, and delays nothing ([`LineSink`]); `kill -9` loses what was collected.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;

use super::line_sink::{self, LineSink};

const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// The output of the access log; `None` discards all lines. Clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<LineSink>);

/// One request.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// When the request ended (RFC 3339, UTC).
    pub time: String,
    /// `request`, or `admin_request` on the admin listener, to tell these lines from others.
    pub kind: &'static str,
    /// The `X-Request-Id` of the answer.
    pub request_id: &'a str,
    /// The caller's trace id, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// The method, such as `POST`, from a closed set.
    pub method: &'a str,
    /// The route pattern, never the path that was sent.
    pub route: &'a str,
    /// The driver whose protocol the request is in; `None` for our own API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// Public id of the client's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    /// The operator, on the admin listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'a str>,
    /// Public id of the client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a str>,
    /// The `verification_id` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_id: Option<uuid::Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'a str>,
    /// The code of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The rule that the request violated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// `provider`, `shared` or `cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// The provider that gave the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    /// The provider's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<&'a str>,
    /// The attempts, as `provider/endpoint=outcome(billed)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
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

    fn to(output: impl io::Write + Send + 'static) -> io::Result<Self> {
        LineSink::start("access-log", output, FLUSH_EVERY, line_sink::lost("access")?).map(|sink| Self(Some(sink)))
    }

    pub fn write(&self, line: &Line<'_>) {
        let Some(sink) = &self.0 else { return };
        sink.push(|bytes| {
            // Writing to a `Vec` cannot fail, and a line has only strings and numbers.
            let _ = serde_json::to_writer(&mut *bytes, line);
            bytes.push(b'\n');
        });
    }

    /// Waits until all lines are written, at most for `limit`. Returns whether they are. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        self.0.as_ref().is_none_or(|sink| sink.flush(limit))
    }

    /// The count of lost lines, to be registered.
    pub fn lost(&self) -> Option<&IntCounter> {
        self.0.as_ref().map(LineSink::lost)
    }
}
