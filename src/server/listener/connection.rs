//! One plain connection, from its first byte to its close.
//!
//! Invariant: whenever a client keeps us waiting, a timeout is running: ours until the first request head, hyper's
//! before each later head, the one of [`Unfinished`] once that has begun, and the one of [`WriteTimeout`] while the
//! client does not read its answer. Request bodies are limited by the code that reads them.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::bare_refusal::BareRefusal;
use super::config::{Config, MIN_HEADER_BYTES};
use super::connections::Slot;
use super::framing::Framing;
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
    /// How long a client may read nothing of its answer.
    pub(super) stall_timeout: Duration,
    /// For the unfinished heads of all connections.
    budget: Arc<Budget>,
}

impl Http1 {
    pub(super) fn new(config: &Config) -> Self {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(config.keep_alive_timeout)
            // hyper's default would let a connection buffer 400 KiB. A head over the limit must still fit, so that the
            // service can answer 431 with a reason. If it does not fit the buffer either, hyper answers 431, and
            // `BareRefusal` adds the body.
            .max_buf_size(config.max_header_bytes.max(MIN_HEADER_BYTES).saturating_mul(HEAD_BUFFER_FACTOR));
        Self {
            builder,
            first_request_timeout: config.first_request_timeout,
            stall_timeout: config.keep_alive_timeout,
            budget: Budget::new(config.max_unfinished_bytes),
        }
    }

    /// Limits how long `stream` may take to finish what `framing` finds begun, and how much of it may wait.
    pub(super) fn watching<S>(&self, stream: S, framing: Framing, slot: &Slot) -> Unfinished<S> {
        let (budget, limit) = (Arc::clone(&self.budget), self.first_request_timeout);
        Unfinished::new(stream, framing, budget, limit, slot.connections())
    }
}

/// Serves `stream` until either side closes or a head is late. After `stop`, finishes the request in flight and closes.
/// The `slot` is released when the socket is closed, not before.
pub(super) async fn drive<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    http1: Arc<Http1>,
    slot: Slot,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let life = Arc::<Life>::default();
    let stream = WriteTimeout::new(stream, http1.stall_timeout);
    let stream = ZeroizingIo::new(http1.watching(stream, Framing::heads(Arc::clone(&life)), &slot));
    let requests = Arc::clone(&life);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let under_way = UnderWay::begin(&requests);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = service.clone().oneshot(request);
        async move {
            let answer = answer.await;
            drop(under_way);
            answer
        }
    });
    let mut connection = pin!(http1.builder.serve_connection(TokioIo::new(BareRefusal::new(stream)), service));
    let mut first_request_deadline = pin!(sleep(http1.first_request_timeout));
    let (mut greeted, mut stopping) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if ended.is_err_and(|error| is_late(&error)) {
                    slot.timed_out();
                }
                return;
            }
            // The requests are counted only when the deadline passes. A branch condition is evaluated before the connection is
            // polled, so it would miss a request that this poll receives.
            () = first_request_deadline.as_mut(), if !greeted => {
                if life.heard() == 0 {
                    slot.timed_out();
                    return;
                }
                greeted = true;
            }
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
