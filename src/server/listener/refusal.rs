//! The `503` answer for connections past the limit.
//!
//! Invariant: a refusal costs one write that cannot block and a bounded wait; nothing the client sends is looked at.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The whole answer, headers and problem document. Nothing was read, so there is no request that an id could belong to,
/// and no log line to find by it.
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

/// As many refused connections may linger at a time; beyond that they are answered and closed at once.
const LINGERING: usize = 256;

/// How long a refused connection is waited for, before the answer and after it, and for how many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Turns connections away.
#[derive(Debug)]
pub(super) struct Refuser(Arc<Semaphore>);

impl Default for Refuser {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LINGERING)))
    }
}

impl Refuser {
    /// Turns `stream` away; the future, if any, does it in good manners.
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

/// Waits for the client to begin, answers, and waits for it to end.
///
/// Many clients take an answer that comes before their request for a broken connection. And closing a socket with
/// unread bytes resets it, and the reset may overtake the answer. So the client's bytes are thrown away until it has
/// read ours and closes too.
async fn farewell(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let _ = timeout(LINGER, stream.peek(&mut [0])).await;
    if let Some(stream) = answer(stream) {
        linger(stream).await;
    }
}

/// Throws away what a client still sends, for a while and up to a size, until it closes.
pub(super) async fn linger(stream: impl AsyncRead + Unpin) {
    let _ = timeout(LINGER, tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink())).await;
}

/// Answers and says that nothing else will come.
fn answer(stream: TcpStream) -> Option<TcpStream> {
    // Through std, because tokio would first wait to hear that a fresh socket can be written to.
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
