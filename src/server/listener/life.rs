//! The state that a connection shares with its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Response, header};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the requests of a connection tell its timers, and the other way round.
#[derive(Debug)]
pub(super) struct Life {
    began: Instant,
    heard: AtomicU64,
    under_way: AtomicUsize,
    /// When the last request ended, in microseconds since the connection began.
    answered: AtomicU64,
    /// The connection is past its maximum age; the next HTTP/1.1 answer is the last one.
    pub(super) aged: AtomicBool,
    /// Cancelled when the service marks an HTTP/2 answer as the last one.
    pub(super) leave: CancellationToken,
}

/// A request in progress, counted until it is dropped.
pub(super) struct UnderWay(Arc<Life>);

impl Default for Life {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            heard: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            aged: AtomicBool::new(false),
            leave: CancellationToken::new(),
        }
    }
}

impl Life {
    /// How many requests have arrived.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

    /// Whether a request is in progress.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.load(Relaxed) > 0
    }

    /// When the head of the next request must be complete, which may be `limit` after the last answer. Always later than
    /// this, while a request is under way.
    pub(super) fn next_head_due(&self, limit: Duration) -> Instant {
        if self.is_busy() {
            return Instant::now() + limit;
        }
        self.began + Duration::from_micros(self.answered.load(Relaxed)) + limit
    }
}

impl UnderWay {
    pub(super) fn begin(life: &Arc<Life>) -> Self {
        life.heard.fetch_add(1, Relaxed);
        life.under_way.fetch_add(1, Relaxed);
        Self(Arc::clone(life))
    }

    /// Handles the last answer of a connection. HTTP/1.1 announces it with `Connection: close`. HTTP/2 forbids this
    /// header and uses GOAWAY, so a header set by the service is removed and triggers the GOAWAY instead.
    pub(super) fn say_goodbye(&self, response: &mut Response<Body>, is_http2: bool) {
        if is_http2 {
            if response.headers_mut().remove(header::CONNECTION).is_some() {
                self.0.leave.cancel();
            }
        } else if self.0.aged.load(Relaxed) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let answered = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.answered.store(answered, Relaxed);
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}
