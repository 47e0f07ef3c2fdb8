//! One JSON line per request. No body, no query, no person, no secret: the line's type has no field for them.
//!
//! Lines are buffered and written a few times a second, so that a request pays for no system call; a full buffer is
//! written at once. No line is dropped, but a `kill -9` loses the buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

const BUFFER: usize = 64 * 1024;
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Where lines are written. Clones share it.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Mutex<Sink>>);

#[derive(Debug)]
struct Sink {
    out: Out,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Out {
    Stdout,
    File(File),
    Nowhere,
}

/// One request.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    /// When it ended (RFC 3339, UTC).
    pub time: String,
    /// `request`, or `admin_request` on the admin listener, to tell these lines from others.
    pub kind: &'static str,
    /// The `X-Request-Id` of the answer.
    pub request_id: &'a str,
    /// The caller's trace, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// `POST` and so on; the path is the route, never what was sent.
    pub method: &'a str,
    /// The route.
    pub route: &'a str,
    /// The driver whose protocol the caller speaks; none for our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// The HTTP status.
    pub status: u16,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The public id of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    /// The operator, on the admin listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'a str>,
    /// The public id of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<&'a str>,
    /// The purpose of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
    /// The caller's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a str>,
    /// The id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_id: Option<uuid::Uuid>,
    /// The verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'a str>,
    /// The problem's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The rule that was broken.
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
    /// Milliseconds from the head to the answer.
    pub duration_ms: f64,
}

impl AccessLog {
    /// Writes to standard output.
    pub fn stdout() -> Self {
        Self::to(Out::Stdout)
    }

    /// Appends to a file, which is created if missing.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::to(Out::File(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// Discards all lines, for tests and commands.
    pub fn nowhere() -> Self {
        Self::to(Out::Nowhere)
    }

    fn to(out: Out) -> Self {
        Self(Arc::new(Mutex::new(Sink { out, buffer: Vec::with_capacity(BUFFER) })))
    }

    /// Adds a line.
    pub fn write(&self, line: &Line<'_>) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to memory cannot fail, and a line is plain strings and numbers.
        let _ = serde_json::to_writer(&mut sink.buffer, line);
        sink.buffer.push(b'\n');
        if sink.buffer.len() >= BUFFER {
            sink.flush();
        }
    }

    /// Writes the buffer out.
    pub fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }

    /// Writes the buffer out a few times a second, until `stop`.
    pub async fn flush_until(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(FLUSH_EVERY);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.flush();
        }
        self.flush();
    }
}

impl Sink {
    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let written = match &mut self.out {
            Out::Stdout => io::stdout().lock().write_all(&self.buffer),
            Out::File(file) => file.write_all(&self.buffer),
            Out::Nowhere => Ok(()),
        };
        if let Err(error) = written {
            // A full disk costs lines, not verdicts.
            tracing::error!(error = %error, bytes = self.buffer.len(), "access log lines were lost");
        }
        self.buffer.clear();
    }
}
