//! `POST /v1/verify` as its callers see it: every code, every header, malformed input, slow and disconnected clients.
//!
//! Everything goes through real sockets. Deadlines are short and real; no test asserts how soon something happens.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use idgate::server::http::access_log::AccessLog;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Reply, TestGateway, eventually};

mod ambiguous;
mod caller_ids;
mod callers;
mod certificates;
mod clients;
mod documented;
mod enumeration;
mod forget;
mod headers;
mod idempotency;
mod malformed;
mod problems;
mod raw;
mod rights;

/// Limit on the wait for a condition that another task brings about; only a broken test waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks the members and headers that all problem responses share.
fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.code()), (status, code), "{reply:#?}");
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("cache-control"), "no-store");
    let body = &reply.body;
    assert_eq!(body["type"], format!("urn:idgate:problem:{code}"));
    assert_eq!(body["status"], status);
    for member in ["title", "detail", "request_id"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    assert_eq!(body["request_id"], reply.header("x-request-id"));
    assert!(body["retryable"].is_boolean(), "{body}");
    let after = body["retry_after_seconds"].as_u64().map(|seconds| seconds.to_string()).unwrap_or_default();
    assert_eq!(after, reply.header("retry-after"));
    let known = [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "request_id",
        "retryable",
        "retry_after_seconds",
        "errors",
        "attempts",
        "may_have_been_billed",
        "verification_id",
    ];
    let members = body.as_object().expect("a document");
    assert!(members.keys().all(|member| known.contains(&member.as_str())), "{body}");
}

/// Checks that a problem is retryable and says after how many seconds.
fn assert_says_when(reply: &Reply) {
    assert_eq!(reply.body["retryable"], true);
    assert!(reply.body["retry_after_seconds"].as_u64().is_some_and(|seconds| seconds > 0), "{reply:#?}");
}

/// The pointers and reasons of a problem's `errors`.
fn errors(reply: &Reply) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = reply.body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| (text(&error["pointer"]), text(&error["reason"]))).collect()
}

/// The configuration section of a client with this key.
fn client(name: &str, key: &str, more: &str) -> String {
    let hash: String = hex::encode(Sha256::digest(key));
    format!("[clients.{name}]\nkeys = [{{ id = \"{name}-1\", sha256 = \"{hash}\" }}]\n{more}\n")
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// An access log for one test.
struct LogFile {
    path: PathBuf,
    log: AccessLog,
}

impl LogFile {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("requests-{}-{}.log", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_file(&path);
        let log = AccessLog::file(&path).unwrap();
        Self { path, log }
    }

    fn text(&self) -> String {
        assert!(self.log.flush(Duration::from_secs(60)));
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A raw connection, for requests that no HTTP client would send.
struct Raw(TcpStream);

impl Raw {
    async fn to(gateway: &TestGateway) -> Self {
        Self(TcpStream::connect(gateway.public).await.unwrap())
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the gateway closes.
    async fn rest(&mut self) -> String {
        let mut got = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut got)).await.expect("the gateway closes");
        read.expect("the gateway closes without a reset");
        String::from_utf8(got).expect("text")
    }

    /// Reads the next answer on a keep-alive connection: its status, head and body.
    async fn answer(&mut self) -> (u16, String, Value) {
        let mut got = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&got).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.expect("every answer has a length").parse().unwrap();
                if body.len() >= length {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return (status, head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null));
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.0.read_buf(&mut got)).await.expect("an answer in time");
            assert_ne!(read.unwrap(), 0, "closed in the middle of: {text}");
        }
    }
}
