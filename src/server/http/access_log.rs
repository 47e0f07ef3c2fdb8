//! The access log: one JSON line per request. It has no body, query, person or secret, because the type of a line has
//! no field for them.
//!
//! Lines are buffered and written a few times a second, so that no request pays for a system call; a full buffer is
//! written immediately. No line is dropped, but `kill -9` loses the buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

const BUFFER: usize = 64 * 1024;
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Buffered output for log lines. Clones share it.
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

    pub fn write(&self, line: &Line<'_>) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a `Vec` cannot fail, and a line has only strings and numbers.
        let _ = serde_json::to_writer(&mut sink.buffer, line);
        sink.buffer.push(b'\n');
        if sink.buffer.len() >= BUFFER {
            sink.flush();
        }
    }

    pub fn flush(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }

    /// Flushes the buffer every 250 ms until `stop` is cancelled, and once more at the end.
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
            // A full disk loses log lines, but does not fail requests.
            tracing::error!(error = %error, bytes = self.buffer.len(), "access log lines were lost");
        }
        self.buffer.clear();
    }
}
