//! The way to a provider's socket: pooled HTTP/1.1 connections, over TLS whose roots come with the binary.
//!
//! Invariants: no redirect is followed and no proxy is taken from the environment, because nothing here could. The one
//! thing sent again is a request whose pooled connection turned out to be closed before a byte of it was written. DNS,
//! TCP and TLS together have one deadline. The TLS settings are parsed once and shared: roots are 150 documents.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tower::{BoxError, Service};

/// Below the 60 s and more after which providers close an idle connection, so that a request seldom meets a closing one.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);
const MOST_IDLE: usize = 1024;
/// A peer that vanished is noticed by these probes, not by the next question.
const KEEPALIVE: Duration = Duration::from_secs(15);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The connections to one provider. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<Connector, Full<Bytes>>);

type Connector = Within<HttpsConnector<HttpConnector>>;

/// Who is trusted, and with which ciphers.
#[derive(Debug, Clone)]
pub(super) struct Tls(ClientConfig);

/// A connector with a deadline over all of its work.
#[derive(Debug, Clone)]
struct Within<C> {
    connector: C,
    limit: Duration,
}

impl Tls {
    /// The roots in the binary: the system's store may be absent (a minimal container).
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults, or a root.
    pub(super) fn embedded() -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            roots.add(root.clone())?;
        }
        let library = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(library).with_safe_default_protocol_versions()?;
        Ok(Self(config.with_root_certificates(roots).with_no_client_auth()))
    }
}

impl Client {
    /// No connection yet; each is made within `connect_timeout`.
    pub(super) fn new(tls: Tls, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among a name's addresses, so that one dead address does not use up the deadline of all.
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        // Plain http is for loopback only; `Endpoint::parse` sees to that.
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.0).https_or_http().enable_http1();
        let connector = Within { connector: connector.wrap_connector(tcp), limit: connect_timeout };
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes clients")]
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector);
        Self(client)
    }

    /// Sends `request` and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is no connection ([`Error::is_connect`]: nothing was sent), or it broke.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        self.0.request(request.map(Full::new)).await
    }
}

impl<C> Service<Uri> for Within<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.connector.call(uri));
        Box::pin(async { connecting.await?.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_in_the_binary_is_taken() {
        assert!(Tls::embedded().is_ok());
    }
}
