//! The connections to one endpoint, each for one request at a time.
//!
//! A call drives the connection that it uses: no task runs beside it, and nothing is woken but the call. An idle
//! connection is polled when it is taken, which notices that the provider has closed it; until then nobody looks at it.
//!
//! Invariants: a request is written at most once. hyper gives it back only if no byte of it was written; only then,
//! and only if the connection was an idle one, it goes over another. No redirect is followed. A connection is kept only
//! if its response was read to the end. Dropping a call closes its connection.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::poll_fn;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{Connector, Stream};
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::{Endpoint, is_redirect};

/// In bytes. Providers answer with a few hundred bytes; anything longer than this is not an answer.
pub(super) const BODY_CAP: usize = 64 * 1024;

/// The most idle connections; more are closed.
const MOST_IDLE: usize = 1024;

/// The connections to one endpoint. Clones share them.
#[derive(Clone)]
pub(in crate::verify) struct Pool(Arc<Shared>);

struct Shared {
    connector: Connector,
    origin: Uri,
    is_https: bool,
    /// Without the default port, unlike the endpoint's authority.
    host: HeaderValue,
    idle_timeout: Duration,
    idle: Mutex<Idle>,
    /// Wakes a call that waits for a new connection when another call has ended.
    freed: Notify,
}

#[derive(Default)]
struct Idle {
    /// Least recently used first.
    connections: VecDeque<(Box<PooledConnection>, Instant)>,
    /// Whether a task closes those that are idle for too long.
    is_watched: bool,
}

/// One connection.
struct PooledConnection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Connection<Stream, Full<Bytes>>>,
}

/// Why a request has no response.
enum Broken {
    /// Not one byte was written.
    Unsent(Box<Request<Full<Bytes>>>),
    Fault(Fault),
}

impl Pool {
    pub(super) fn new(connector: Connector, endpoint: &Endpoint, idle_timeout: Duration) -> Option<Self> {
        let (origin, is_https) = (endpoint.uri("/").ok()?, endpoint.is_https());
        let default_port = if is_https { ":443" } else { ":80" };
        let authority = endpoint.authority();
        let host = HeaderValue::from_str(authority.strip_suffix(default_port).unwrap_or(authority)).ok()?;
        let (idle, freed) = (Mutex::default(), Notify::new());
        Some(Self(Arc::new(Shared { connector, origin, is_https, host, idle_timeout, idle, freed })))
    }

    #[cfg(test)]
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// Sends `request` and reads the response, without its limit in time.
    ///
    /// # Errors
    /// No complete response. Only a failed connection guarantees that nothing was sent.
    pub(in crate::verify) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Fault> {
        let mut request = self.0.finished(request);
        loop {
            let (mut pooled, is_new) = match self.0.take() {
                Some(pooled) => (pooled, false),
                None => self.0.open().await?,
            };
            match pooled.exchange(request).await {
                Ok(response) => {
                    self.0.put(pooled);
                    return Ok(response);
                }
                // The provider had closed the idle connection.
                Err(Broken::Unsent(unsent)) if !is_new => request = *unsent,
                Err(Broken::Unsent(_)) => return Err(Fault::new(Outcome::Interrupted, Reason::Unspecified)),
                Err(Broken::Fault(fault)) => return Err(fault),
            }
        }
    }
}

impl Shared {
    /// The request as it is written: its target without the origin, and the headers of every request.
    fn finished(&self, request: Request<Bytes>) -> Request<Full<Bytes>> {
        let (mut parts, body) = request.into_parts();
        parts.uri = parts.uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default();
        parts.headers.entry(HOST).or_insert_with(|| self.host.clone());
        parts.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        // Without this header a server may compress an answer (RFC 9110, 12.5.3), which we could not read.
        parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Request::from_parts(parts, Full::new(body))
    }

    /// A new connection, or one that becomes free before it is there, and whether it is new.
    async fn open(self: &Arc<Self>) -> Result<(Box<PooledConnection>, bool), Fault> {
        let this = Arc::clone(self);
        let mut opening = Box::pin(async move { this.connect().await });
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return Ok((opened?, true)),
                () = self.freed.notified() => {
                    let Some(pooled) = self.take() else { continue };
                    let this = Arc::clone(self);
                    #[expect(clippy::disallowed_methods, reason = "sends no request")]
                    tokio::spawn(async move {
                        if let Ok(pooled) = opening.await {
                            this.put(pooled);
                        }
                    });
                    return Ok((pooled, false));
                }
            }
        }
    }

    async fn connect(&self) -> Result<Box<PooledConnection>, Fault> {
        let stream = self.connector.connect(self.origin.clone(), self.is_https).await?;
        // A client must read header lines that are folded (RFC 9112, 5.2).
        let handshake = Builder::new().allow_obsolete_multiline_headers_in_responses(true).handshake(stream);
        // Fails for other protocols than HTTP/1 only.
        let (sender, connection) =
            handshake.await.map_err(|_| Fault::new(Outcome::Unreachable, Reason::Unspecified))?;
        Ok(Box::new(PooledConnection { sender, connection: Some(connection) }))
    }

    /// The connection that was used last.
    fn take(&self) -> Option<Box<PooledConnection>> {
        self.idle().connections.pop_back().map(|(pooled, _)| pooled)
    }

    fn put(self: &Arc<Self>, pooled: Box<PooledConnection>) {
        if !pooled.is_reusable() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        if idle.connections.len() >= MOST_IDLE {
            return;
        }
        idle.connections.push_back((pooled, now));
        let is_watched = std::mem::replace(&mut idle.is_watched, true);
        drop(idle);
        self.freed.notify_one();
        if !is_watched {
            #[expect(clippy::disallowed_methods, reason = "makes no calls")]
            tokio::spawn(watch(Arc::downgrade(self), self.idle_timeout));
        }
    }

    /// Takes out what has been idle for `idle_timeout`; and when to look again, if anything is left.
    fn expired(&self, now: Instant) -> (VecDeque<(Box<PooledConnection>, Instant)>, Option<Instant>) {
        let mut idle = self.idle();
        let is_old = |(_, since): &(_, Instant)| now.saturating_duration_since(*since) >= self.idle_timeout;
        let old = idle.connections.iter().take_while(|pooled| is_old(pooled)).count();
        let fresh = idle.connections.split_off(old);
        let old = std::mem::replace(&mut idle.connections, fresh);
        let next = idle.connections.front().map(|(_, since)| *since + self.idle_timeout);
        idle.is_watched = next.is_some();
        (old, next)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections of `pool` that are idle for too long, until none is left.
async fn watch(pool: Weak<Shared>, idle_timeout: Duration) {
    let mut next = Instant::now() + idle_timeout;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(shared) = pool.upgrade() else { return };
        let (_old, later) = shared.expired(Instant::now());
        match later {
            Some(later) => next = later,
            None => return,
        }
    }
}

impl PooledConnection {
    /// Sends a request and reads the response to its end.
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Broken> {
        let Self { sender, connection } = self;
        let mut answer = pin!(sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            drive(connection, cx);
            answer.as_mut().poll(cx)
        });
        let response = answer.await.map_err(|mut error| match error.take_message() {
            Some(unsent) => Broken::Unsent(Box::new(unsent)),
            None => Broken::Fault(fault_of(&error.into_error())),
        })?;
        let (parts, body) = response.into_parts();
        if is_redirect(parts.status) {
            // Its body is not read, so the connection ends.
            return Err(Broken::Fault(Fault::unreadable(Reason::Redirect)));
        }
        let body = read_capped(body, connection).await.map_err(Broken::Fault)?;
        if !sender.is_ready() {
            // The end of the body may have come after the last poll.
            poll_fn(|cx| {
                drive(connection, cx);
                Poll::Ready(())
            })
            .await;
        }
        Ok(Response::from_parts(parts, body))
    }

    /// Whether the next request can be sent.
    fn is_reusable(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// Lets a connection read and write what it can.
fn drive(connection: &mut Option<Connection<Stream, Full<Bytes>>>, cx: &mut Context<'_>) {
    // Its error also reaches whoever waits for the response.
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(cx).is_ready()) {
        *connection = None;
    }
}

/// Reads a body of at most [`BODY_CAP`] bytes.
async fn read_capped(
    mut body: Incoming,
    connection: &mut Option<Connection<Stream, Full<Bytes>>>,
) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending => {
                drive(connection, cx);
                Pin::new(&mut body).poll_frame(cx)
            }
            ready => ready,
        });
        let Some(frame) = frame.await else { break };
        let Ok(data) = frame.map_err(|error| fault_of(&error))?.into_data() else { continue };
        if first.len() + rest.len() + data.remaining() > BODY_CAP {
            return Err(Fault::unreadable(Reason::TooBig));
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// Maps an error after the connection was there. Drops the error's text.
fn fault_of(error: &(dyn Error + 'static)) -> Fault {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Fault::new(Outcome::Timeout, Reason::Unspecified);
        }
        cause = error.source();
    }
    Fault::new(Outcome::Interrupted, Reason::Unspecified)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({:?})", self.0.host)
    }
}

#[cfg(test)]
mod tests;
