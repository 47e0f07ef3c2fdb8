//! One TLS connection, from its first byte to its close: the handshake, then HTTP/2 or HTTP/1.1 as ALPN selects.
//!
//! Invariants: whenever a client keeps us waiting, a timeout is running: the handshake's, then ours until the first
//! request head, then that for heads (HTTP/1.1) or those for pings and idle connections (HTTP/2, see `watch`), and always those
//! of [`Unfinished`] and [`WriteTimeout`]. The requests of an HTTP/2 connection are separate tasks and end with it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::bare_refusal::BareRefusal;
use super::config::{Config, LAST_WORDS, MIN_HEADER_BYTES};
use super::connection::{HEAD_BUFFER_FACTOR, Http1};
use super::connections::Slot;
use super::framing::Framing;
use super::hang_up::HangUp;
use super::life::{Life, UnderWay};
use super::refusal::linger;
use super::tls;
use super::tls::{Failure, HTTP2, PeerCertificate, TlsSwitch};
use super::unfinished::Unfinished;
use super::watch::Watch;
use super::write_timeout::WriteTimeout;
use super::zeroizing_io::ZeroizingIo;

/// How long a handshake may still take after a stop.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);

/// Limits on reset streams: those the client reset before we accepted them, and those we reset because of the client's
/// protocol errors. A connection over either limit gets GOAWAY with ENHANCE_YOUR_CALM.
const MOST_RESETS_WAITING: usize = 20;
const MOST_RESETS_BY_US: usize = 256;

/// HTTP/2 flow-control windows: how many bytes of request bodies a client may send ahead, per stream and per
/// connection. A question is far smaller.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// What the connections of a TLS listener share.
#[derive(Debug)]
pub(super) struct Secure {
    tls: TlsSwitch,
    http1: Arc<Http1>,
    config: Config,
    requests: TaskTracker,
}

/// Runs the requests of one HTTP/2 connection as tasks, which are cancelled when the connection ends.
#[derive(Debug, Clone)]
struct Streams {
    tracker: TaskTracker,
    connection: CancellationToken,
}

impl Secure {
    pub(super) fn new(config: &Config, http1: Arc<Http1>, tls: TlsSwitch) -> Self {
        Self { tls, http1, config: config.clone(), requests: TaskTracker::new() }
    }

    /// The HTTP/2 settings of a connection whose requests run in `streams`.
    fn http2(&self, streams: Streams) -> http2::Builder<Streams> {
        let config = &self.config;
        let head_buffer = config.max_header_bytes.max(MIN_HEADER_BYTES).saturating_mul(HEAD_BUFFER_FACTOR);
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            // Larger than the limit, so that the service can answer 431 with a reason. Beyond this, hyper answers 431
            // without a body.
            .max_header_list_size(u32::try_from(head_buffer).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MOST_RESETS_WAITING)
            .max_local_error_reset_streams(MOST_RESETS_BY_US)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(config.ping_interval)
            .keep_alive_timeout(config.ping_timeout);
        builder
    }

    /// Waits for the request tasks of ended connections. They are already cancelled.
    pub(super) async fn streams_ended(&self) {
        self.requests.close();
        self.requests.wait().await;
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let connection = self.connection.clone();
        self.tracker.spawn(async move { connection.run_until_cancelled(stream).await });
    }
}

/// Serves `stream` until either side closes or a timeout passes. After `stop`, finishes the requests in flight. The
/// `slot` is released when the socket is closed, not before.
pub(super) async fn drive(
    stream: TcpStream,
    peer: SocketAddr,
    answers: impl Answer,
    secure: Arc<Secure>,
    slot: Slot,
    stop: CancellationToken,
) {
    let first_request_deadline = Instant::now() + secure.http1.first_request_timeout;
    // rustls decrypts records in the buffer it reads into, so the stream below TLS has to be zeroizing as well.
    let stream = ZeroizingIo::new(WriteTimeout::new(stream, secure.http1.keep_alive_timeout));
    let stream = secure.http1.watching(stream, Framing::tls(), &slot);
    let Some(mut stream) = handshake(stream, &secure.tls.load(), first_request_deadline, &slot, &stop).await else {
        return;
    };
    stream.get_mut().0.handshake_is_over();
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(HTTP2);
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(PeerCertificate::of);
    let life = Arc::<Life>::default();
    let requests = Arc::clone(&life);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let under_way = UnderWay::begin(&requests);
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        answers.clone().answer(request, peer).map(move |mut response| {
            under_way.say_goodbye(&mut response, is_http2);
            Ok::<_, Infallible>(response)
        })
    });
    let requests = Arc::clone(&life);
    let http1 = &*secure.http1;
    let watch = Watch { first_request_deadline, http1, life, slot: &slot, config: &secure.config, stop };
    if is_http2 {
        let io = ZeroizingIo::new(http1.watching(stream, Framing::http2(), &slot));
        let connection = CancellationToken::new();
        let _ends_with_it = connection.clone().drop_guard();
        let streams = Streams { tracker: secure.requests.clone(), connection };
        watch.http2(secure.http2(streams).serve_connection(TokioIo::new(io), service)).await;
    } else {
        let io = http1.watching(stream, Framing::heads(Arc::clone(&requests)), &slot);
        let io = BareRefusal::new(ZeroizingIo::new(HangUp::new(io, requests)));
        watch.http1(http1.builder.serve_connection(TokioIo::new(io), service)).await;
    }
}

/// The handshake, limited by its own timeout and by the first-request deadline. Failures are counted.
async fn handshake(
    stream: Unfinished<ZeroizingIo<WriteTimeout>>,
    tls: &tls::Tls,
    deadline: Instant,
    slot: &Slot,
    stop: &CancellationToken,
) -> Option<TlsStream<Unfinished<ZeroizingIo<WriteTimeout>>>> {
    let accepted = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream).into_fallible();
    let deadline = deadline.min(Instant::now() + tls.handshake_timeout);
    let too_late = async {
        stop.cancelled().await;
        sleep(LAST_HANDSHAKES).await;
    };
    let accepted = tokio::select! {
        biased;
        accepted = timeout_at(deadline, accepted) => accepted,
        () = too_late => return None,
    };
    match accepted {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err((error, mut stream))) => {
            let why = Failure::of(&error);
            slot.handshake_failed(why);
            tracing::debug!(%error, reason = why.as_str(), "a handshake failed");
            // The client may have sent more than we have read. A reset would overtake the alert that tells it the
            // reason.
            let _ = timeout(LAST_WORDS, stream.shutdown()).await;
            linger(stream).await;
            None
        }
        Err(_) => {
            slot.handshake_failed(Failure::Timeout);
            None
        }
    }
}
