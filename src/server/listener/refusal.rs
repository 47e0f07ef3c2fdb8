//! The `503` answer for connections over the limit.
//!
//! Invariant: a refusal costs one non-blocking write and a bounded wait. Nothing that the client sends is parsed.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The whole response, headers and problem document. Nothing was read, so there is no request to give an id to, and no
/// log line to find by it.
const OVERLOADED: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: application/problem+json\r\n",
    "cache-control: no-store\r\n",
    "content-length: 275\r\n",
    "connection: close\r\n",
    "retry-after: 1\r\n",
    "x-request-id: none\r\n",
    "\r\n",
    r#"{"type":"urn:idgate:problem:overloaded","title":"Too many requests at once","status":503,"#,
    r#""detail":"Too many connections are open. Nothing was done. Reuse connections, or try again in a second.","#,
    r#""code":"overloaded","request_id":"none","retryable":true,"retry_after_seconds":1}"#
);

/// How many refused connections may linger at the same time. Any more are answered and closed at once.
const LINGERING: usize = 256;

/// The same for a listener with fewer places: as a share of them, but at least a few.
const LINGERING_SHARE: usize = 8;
const LINGERING_LEAST: usize = 4;

/// How long to wait for a refused client, before the answer and again after it, and how many of its bytes to discard.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Refuses connections, some of them gracefully at the same time.
#[derive(Debug)]
pub(super) struct Refuser(Arc<Semaphore>);

/// How many connections beside the admitted ones a listener with `places` may hold open.
pub(super) fn lingering(places: usize) -> usize {
    (places / LINGERING_SHARE).clamp(LINGERING_LEAST, LINGERING)
}

impl Refuser {
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(lingering(places))))
    }

    /// Refuses `stream`. The future, if there is one, does so gracefully; otherwise the stream is already answered and
    /// closed.
    pub(super) fn refuse(&self, stream: TcpStream) -> Option<impl Future<Output = ()> + Send + 'static> {
        match self.0.clone().try_acquire_owned() {
            Ok(permit) => Some(farewell(stream, permit)),
            Err(_) => {
                answer(stream);
                None
            }
        }
    }
}

/// Waits for the client to send something, answers, and waits for it to close.
///
/// Many clients treat an answer that comes before their request as a broken connection. Closing a socket with unread
/// bytes sends a reset, which may overtake the answer. So the client's bytes are discarded until it has read the answer
/// and closes.
async fn farewell(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let _ = timeout(LINGER, stream.peek(&mut [0])).await;
    if let Some(stream) = answer(stream) {
        linger(stream).await;
    }
}

/// Discards what a client still sends until it closes, within a time and size limit.
pub(super) async fn linger(stream: impl AsyncRead + Unpin) {
    let _ = timeout(LINGER, tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink())).await;
}

/// Sends the answer and closes the write side.
fn answer(stream: TcpStream) -> Option<TcpStream> {
    // Writes through std, because tokio would first wait for a fresh socket to be reported as writable.
    let mut stream = stream.into_std().ok()?;
    stream.write_all(OVERLOADED.as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    TcpStream::from_std(stream).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says_and_is_a_problem_document() {
        let (head, body) = OVERLOADED.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "overloaded");
    }
}
