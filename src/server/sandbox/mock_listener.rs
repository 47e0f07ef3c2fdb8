//! The loopback socket of one endpoint, and its connections.
//!
//! Invariant: a shut listener refuses connections at once and reopens on the same port; the client of a connection that
//! is [`Cut`] sees exactly that, a reset or an orderly close. The production listener is not used here, because it must
//! never break a connection on purpose.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Pause after a failed `accept`, for example when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Length of the kernel's accept queue.
const BACKLOG: u32 = 1024;

/// How a simulator ends a connection instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cut {
    #[error("the sandbox resets this connection")]
    Reset,
    /// An orderly close without an answer.
    #[error("the sandbox closes this connection")]
    Close,
}

/// Answers the requests that arrive at a set of mock listeners.
pub(super) trait Host: Send + Sync + 'static {
    fn listeners(&self) -> &[MockListener];

    /// Answers one request that arrived at the listener with this index.
    fn answer(
        &self,
        mock_listener: usize,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Cut>> + Send;
}

/// A listening socket that can be shut and reopened.
#[derive(Debug)]
pub(super) struct MockListener {
    addr: SocketAddr,
    /// Bound but never listening. Reserves the port while the listener is shut, so that nothing else in this process or
    /// on this machine can answer there.
    _reservation: TcpSocket,
    socket: Mutex<Option<TcpListener>>,
    changed: Notify,
}

impl MockListener {
    /// Binds a free loopback port and listens on it.
    pub(super) fn bind() -> io::Result<Self> {
        let reservation = bound((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = reservation.local_addr()?;
        let socket = Mutex::new(Some(listen(addr)?));
        Ok(Self { addr, _reservation: reservation, socket, changed: Notify::new() })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Refuses new connections from now on. Established ones are cut shortly after, by `serve`.
    pub(super) fn shut(&self) {
        self.with_socket(|socket| *socket = None);
        self.changed.notify_one();
    }

    /// Listens again on the same port.
    pub(super) fn open(&self) -> io::Result<()> {
        self.with_socket(|socket| {
            if socket.is_none() {
                *socket = Some(listen(self.addr)?);
            }
            Ok(())
        })
        .inspect(|()| self.changed.notify_one())
    }

    fn is_shut(&self) -> bool {
        self.with_socket(|socket| socket.is_none())
    }

    /// The next connection; pending while the listener is shut.
    async fn accept(&self) -> io::Result<TcpStream> {
        poll_fn(|cx| {
            self.with_socket(|socket| match socket {
                Some(socket) => socket.poll_accept(cx).map_ok(|(stream, _)| stream),
                None => Poll::Pending,
            })
        })
        .await
    }

    fn with_socket<T>(&self, work: impl FnOnce(&mut Option<TcpListener>) -> T) -> T {
        work(&mut self.socket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    bound(addr)?.listen(BACKLOG)
}

fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // The reservation and the listener share the port.
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// Serves the listener with this index until `stop`, which also cuts the open connections.
pub(super) async fn serve<H: Host>(host: Arc<H>, index: usize, stop: CancellationToken) {
    let Some(mock_listener) = host.listeners().get(index) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return mock_listener.shut(),
            () = mock_listener.changed.notified() => if mock_listener.is_shut() { connections.abort_all() },
            Some(_) = connections.join_next() => {}
            accepted = mock_listener.accept() => match accepted {
                Ok(stream) => { connections.spawn(converse(stream, host.clone(), index)); }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

async fn converse<H: Host>(stream: TcpStream, host: Arc<H>, index: usize) {
    // The `drip` fault must send byte by byte.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let host = host.clone();
        Box::pin(async move { host.answer(index, request).await })
    });
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    let cut = ended.as_ref().err().and_then(|error| error.source()?.downcast_ref::<Cut>());
    if cut == Some(&Cut::Reset) {
        // Closing with zero linger discards unsent data and sends a reset.
        let _ = stream.set_zero_linger();
    }
}
