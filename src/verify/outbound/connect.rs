//! Opens connections to one endpoint: name, TCP, the tunnel of a proxy, TLS.
//!
//! Invariants: an endpoint with a proxy is reached through it only; a connection that fails has sent nothing of a
//! request. No text of an error leaves this module.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::ServiceExt;
use zeroize::Zeroizing;

use super::dns::{Resolver, Unresolved};
use super::exhaustion;
use super::settings::{Outbound, Proxy};
use super::trust;
use crate::domain::outcome::{Fault, Outcome, Reason};

/// When to try again after this process had no descriptor for a connection.
const RETRY_EXHAUSTED: Duration = Duration::from_secs(1);
/// How often a connection is probed that says nothing, and how many probes may be lost.
const KEEPALIVE: (Duration, u32) = (Duration::from_secs(15), 3);
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The client cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) struct Unusable;

/// What connections with equal settings share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    proxy: Option<Tunnel<HttpConnector<Resolver>>>,
    tls: Arc<ClientConfig>,
    /// Covers all of it.
    timeout: Duration,
}

/// A connection to a provider.
pub(super) enum Stream {
    /// To loopback only.
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connector {
    pub(super) fn new(outbound: &Outbound, resolver: Resolver, tls: ClientConfig) -> Result<Self, Unusable> {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses, so that one that is silent leaves time for the next.
        tcp.set_connect_timeout(Some(outbound.connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE.0));
        tcp.set_keepalive_interval(Some(KEEPALIVE.0));
        tcp.set_keepalive_retries(Some(KEEPALIVE.1));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let proxy = outbound.proxy.as_ref().map(|proxy| proxy.tunnel(tcp.clone())).transpose()?;
        Ok(Self { tcp, proxy, tls: Arc::new(tls), timeout: outbound.connect_timeout })
    }

    pub(super) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Connects to the origin of `uri`.
    ///
    /// # Errors
    /// Nothing was sent to the provider.
    pub(super) async fn connect(&self, uri: Uri, is_https: bool) -> Result<Stream, Fault> {
        match tokio::time::timeout(self.timeout, self.open(uri, is_https)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(fault_of(&*error, self.is_proxied())),
            Err(_) => Err(Fault::new(Outcome::Unreachable, unnamed(self.is_proxied()))),
        }
    }

    async fn open(&self, uri: Uri, is_https: bool) -> Result<Stream, Box<dyn Error + Send + Sync>> {
        let name = || ServerName::try_from(uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned());
        let name = if is_https { Some(name()?) } else { None };
        let tcp = match &self.proxy {
            Some(tunnel) => tunnel.clone().oneshot(uri).await?,
            None => self.tcp.clone().oneshot(uri).await?,
        };
        let Some(name) = name else { return Ok(Stream::Plain(tcp)) };
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp.into_inner()).await?;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }
}

impl Proxy {
    fn tunnel<C>(&self, tcp: C) -> Result<Tunnel<C>, Unusable> {
        let tunnel = Tunnel::new(self.url.parse().map_err(|_| Unusable)?, tcp);
        let Some(login) = self.login.as_ref().filter(|login| login.expose().contains(':')) else { return Ok(tunnel) };
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(login.expose())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Unusable)?;
        value.set_sensitive(true);
        Ok(tunnel.with_auth(value))
    }
}

/// Maps an error before the connection was there.
pub(super) fn fault_of(error: &(dyn Error + 'static), is_proxied: bool) -> Fault {
    if exhaustion::is_behind(error) {
        return Fault {
            retry_after: Some(RETRY_EXHAUSTED),
            ..Fault::new(Outcome::SkippedExhausted, Reason::Unspecified)
        };
    }
    let reason = trust::refusal(error).unwrap_or_else(|| match is_unresolved(error) {
        true => Reason::NameUnresolved,
        false => unnamed(is_proxied),
    });
    Fault::new(Outcome::Unreachable, reason)
}

/// The reason where the error has none of its own.
fn unnamed(is_proxied: bool) -> Reason {
    // We only see the connection to the proxy; its errors say nothing about the provider.
    if is_proxied { Reason::ProxyFailed } else { Reason::Unspecified }
}

fn is_unresolved(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Unresolved>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        }
    }
}

/// Vectored, although a request is small: otherwise hyper copies the body into the connection's buffer, where the person
/// would stay until the next request.
impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
