//! One plain connection, from its first byte to its close.
//!
//! Invariant: whenever a client keeps us waiting, a timeout is running: ours until each request head, the one of
//! [`Unfinished`] once that has begun, and the one of [`WriteTimeout`] while the client does not read its answer. Request
//! bodies are limited by the code that reads them.
//!
//! hyper's own timeout for heads is not used, because it makes a new timer for each request. Ours is one timer, which
//! looks when the last request was answered only when it has run down.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::bare_refusal::BareRefusal;
use super::config::{Config, MIN_HEADER_BYTES};
use super::connections::Slot;
use super::framing::Framing;
use super::hang_up::HangUp;
use super::life::{Life, UnderWay};
use super::unfinished::{Budget, Unfinished};
use super::write_timeout::WriteTimeout;
use super::zeroizing_io::ZeroizingIo;

/// A connection may buffer this many times the header limit.
pub(super) const HEAD_BUFFER_FACTOR: usize = 4;

/// The HTTP/1.1 settings of a listener's connections.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) builder: http1::Builder,
    pub(super) first_request_timeout: Duration,
    /// How long the next head may take after an answer, and how long a client may read nothing of its answer.
    pub(super) keep_alive_timeout: Duration,
    /// For the unfinished heads of all connections.
    budget: Arc<Budget>,
}

impl Http1 {
    pub(super) fn new(config: &Config) -> Self {
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            // `HangUp` notices a client that leaves.
            .half_close(true)
            // hyper's default would let a connection buffer 400 KiB. A head over the limit must still fit, so that the
            // service can answer 431 with a reason. If it does not fit the buffer either, hyper answers 431, and
            // `BareRefusal` adds the body.
            .max_buf_size(config.max_header_bytes.max(MIN_HEADER_BYTES).saturating_mul(HEAD_BUFFER_FACTOR));
        Self {
            builder,
            first_request_timeout: config.first_request_timeout,
            keep_alive_timeout: config.keep_alive_timeout,
            budget: Budget::new(config.max_unfinished_bytes),
        }
    }

    /// How long the head of the first request may take.
    pub(super) fn first_head(&self) -> Duration {
        self.first_request_timeout.min(self.keep_alive_timeout)
    }

    /// When the head of the next request must be complete; `None` if none has come at all.
    pub(super) fn next_head_due(&self, life: &Life) -> Option<Instant> {
        (life.heard() > 0).then(|| life.next_head_due(self.keep_alive_timeout))
    }

    /// Limits how long `stream` may take to finish what `framing` finds begun, and how much of it may wait.
    pub(super) fn watching<S>(&self, stream: S, framing: Framing, slot: &Slot) -> Unfinished<S> {
        let (budget, limit) = (Arc::clone(&self.budget), self.first_request_timeout);
        Unfinished::new(stream, framing, budget, limit, slot.connections())
    }
}

/// Serves `stream` until either side closes or a head is late. After `stop`, finishes the request in flight and closes.
/// The `slot` is released when the socket is closed, not before.
pub(super) async fn drive(
    stream: TcpStream,
    peer: SocketAddr,
    answers: impl Answer,
    http1: Arc<Http1>,
    slot: Slot,
    stop: CancellationToken,
) {
    let life = Arc::<Life>::default();
    let stream = WriteTimeout::new(stream, http1.keep_alive_timeout);
    let stream = http1.watching(stream, Framing::heads(Arc::clone(&life)), &slot);
    let stream = ZeroizingIo::new(HangUp::new(stream, Arc::clone(&life)));
    let requests = Arc::clone(&life);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = UnderWay::begin(&requests);
        answers.clone().answer(request, peer).map(move |answer| {
            drop(under_way);
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = pin!(http1.builder.serve_connection(TokioIo::new(BareRefusal::new(stream)), service));
    let mut head_due = pin!(sleep(http1.first_head()));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if ended.is_err_and(|error| is_late(&error)) {
                    slot.timed_out();
                }
                return;
            }
            () = head_due.as_mut() => match http1.next_head_due(&life) {
                Some(due) if due > Instant::now() => head_due.as_mut().reset(due),
                _ => return slot.timed_out(),
            },
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Whether a connection ended because its client missed a deadline.
pub(super) fn is_late(error: &hyper::Error) -> bool {
    let stalled = |source: &(dyn Error + 'static)| {
        source.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    error.is_timeout() || error.source().is_some_and(stalled)
}
