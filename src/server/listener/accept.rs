//! Our own accept loop, because the ready-made ones never close a connection on which the client sends nothing.
//!
//! Invariants: a connection is cut when its first request head is late, when it is idle for too long, and when the
//! drain times out; at most [`Config::max_connections`] are open, and of one address
//! [`Config::max_per_address`]; the loop awaits nothing but the next connection;
//! every task belongs to [`Listener::serve`] and ends with it.
//!
//! With a [`Tls`], every connection is TLS. The handshake runs in the connection's task, so that it cannot hold up the
//! loop, and under the same first-request deadline. ALPN then selects HTTP/2 or HTTP/1.1. hyper-util's detecting
//! builder is not used, because it waits for the first bytes without a limit. Without a [`Tls`], connections are plain
//! HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::config::{Config, LAST_WORDS};
use super::connection::Http1;
use super::connections::Connections;
use super::refusal::{Refuser, lingering};
use super::secure::Secure;
use super::tls::{Tls, TlsSwitch};
use super::{connection, secure};

/// Length of the kernel's accept queue.
const BACKLOG: u32 = 4096;

/// The first and the longest pause when the system has no file descriptor or memory for another connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How many descriptors a listener with `max_connections` takes at most: for its connections, for those it is refusing,
/// for the next one, and for its socket.
pub fn descriptors(max_connections: usize) -> usize {
    max_connections.saturating_add(lingering(max_connections) + 2)
}

/// A bound socket that is not served yet; the kernel already queues connections.
#[derive(Debug)]
pub struct Listener {
    /// Not registered with a runtime yet, because the one that serves it need not be the one that binds it.
    socket: std::net::TcpListener,
    local_addr: SocketAddr,
    config: Config,
    connections: Connections,
    tls: Option<TlsSwitch>,
}

impl Listener {
    /// Binds `addr`; port 0 picks a free port. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn bind(addr: SocketAddr, config: Config) -> io::Result<Self> {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restart must be able to bind while connections of the previous process are still closing.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let socket = socket.listen(BACKLOG)?.into_std()?;
        let local_addr = socket.local_addr()?;
        Ok(Self { socket, local_addr, config, connections: Connections::default(), tls: None })
    }

    /// Makes the listener speak TLS only.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(TlsSwitch::new(tls)), ..self }
    }

    /// The same socket once more: whichever of the two is served takes the next connection.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let Self { socket, local_addr, config, connections, tls } = self;
        let (config, connections, tls) = (config.clone(), connections.clone(), tls.clone());
        Ok(Self { socket: socket.try_clone()?, local_addr: *local_addr, config, connections, tls })
    }

    /// A handle that replaces the certificate while the listener is served; `None` without TLS.
    pub fn tls(&self) -> Option<TlsSwitch> {
        self.tls.clone()
    }

    /// The bound address, with the actual port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The connection counters, for metrics. They stay valid while the listener is served.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves until `stop`, then drains: accepts only the connections that the kernel has already queued, closes idle
    /// ones shortly after, lets requests in flight finish within [`Config::drain_timeout`], and cuts the rest.
    ///
    /// Dropping the future cuts every connection at once.
    pub async fn serve(self, answers: impl Answer, stop: CancellationToken) {
        let Self { socket, config, connections, tls, .. } = self;
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(%error, "cannot accept connections; start idgate again"),
        };
        let http1 = Arc::new(Http1::new(&config));
        let secure = tls.map(|tls| Arc::new(Secure::new(&config, Arc::clone(&http1), tls)));
        let refuser = Refuser::new(config.max_connections);
        let closing = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let per_address = config.per_address();
        let admit = |peer: SocketAddr| connections.admit(peer.ip(), config.max_connections, per_address);
        let welcome = |tasks: &mut JoinSet<()>, stream, peer| match admit(peer) {
            Some(slot) => {
                let (answers, closing) = (answers.clone(), closing.clone());
                match &secure {
                    None => tasks.spawn(connection::drive(stream, peer, answers, http1.clone(), slot, closing)),
                    Some(secure) => tasks.spawn(secure::drive(stream, peer, answers, secure.clone(), slot, closing)),
                };
            }
            // A client that waits for a TLS handshake could not read the plain-text answer.
            None if secure.is_some() => drop(stream),
            None => {
                if let Some(farewell) = refuser.refuse(stream) {
                    tasks.spawn(farewell);
                }
            }
        };
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = accept(&socket) => accepted,
            };
            welcome(&mut tasks, stream, peer);
        }
        for (stream, peer) in queued(socket) {
            welcome(&mut tasks, stream, peer);
        }
        let closing_soon = async {
            sleep(LAST_WORDS.min(config.drain_timeout / 2)).await;
            closing.cancel();
            sleep(config.drain_timeout.saturating_sub(LAST_WORDS)).await;
        };
        let drained = tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => true,
            () = closing_soon => false,
        };
        if !drained {
            tracing::warn!(cut = connections.open(), "the drain is over, cutting the remaining connections");
            tasks.shutdown().await;
        }
        if let Some(secure) = &secure {
            secure.streams_ended().await;
        }
    }
}

/// Takes the connections in the kernel's accept queue. Closing the socket would reset them and lose the requests that
/// they may carry. Asks the kernel directly, because tokio may not have been notified of the last ones.
fn queued(socket: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(socket) = socket.into_std() else { return Vec::new() };
    let next = || {
        let (stream, peer) = socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream).ok()?;
        let _ = stream.set_nodelay(true);
        Some((stream, peer))
    };
    std::iter::from_fn(next).take(BACKLOG as usize).collect()
}

/// The next connection. Errors of a single client are skipped. After an error of the system there is a pause, because
/// an immediate retry would spin until a file descriptor is freed.
async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    let (mut pause, longest) = BACKOFF;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                // Small answers must not wait for the acknowledgement of the previous one. If this fails, they are only
                // slower.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if is_about_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        }
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_files_is_waited_out_and_a_lost_client_is_not() {
        const EMFILE: i32 = 24;
        assert!(!is_about_one_client(&io::Error::from_raw_os_error(EMFILE)));
        assert!(is_about_one_client(&io::ErrorKind::ConnectionAborted.into()));
    }
}
