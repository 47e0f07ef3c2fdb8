//! A listener's [`Tls`], and the [`TlsSwitch`] that replaces it while the listener is served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

/// The HTTP versions that ALPN offers.
pub(in crate::server::listener) const HTTP2: &[u8] = b"h2";
pub(in crate::server::listener) const HTTP1: &[u8] = b"http/1.1";

/// A certificate with everything that handshakes need.
#[derive(Clone)]
pub struct Tls {
    pub(in crate::server::listener) server: Arc<rustls::ServerConfig>,
    pub(in crate::server::listener) handshake_timeout: Duration,
    pub(super) expires: Option<Timestamp>,
}

/// Replaces the [`Tls`] of a listener while it is served: new connections use the new one, open ones keep theirs.
/// Clones control the same listener.
#[derive(Debug, Clone)]
pub struct TlsSwitch(Arc<ArcSwap<Tls>>);

impl Tls {
    /// The earliest expiry in the certificate chain.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server: _, handshake_timeout, expires } = self;
        f.debug_struct("Tls")
            .field("handshake_timeout", handshake_timeout)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

impl TlsSwitch {
    pub(in crate::server::listener) fn new(tls: Tls) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(tls)))
    }

    /// Replaces the [`Tls`]. Earlier sessions cannot be resumed, because each [`Tls`] has its own ticket keys.
    pub fn replace(&self, tls: Tls) {
        self.0.store(Arc::new(tls));
    }

    pub(in crate::server::listener) fn load(&self) -> Arc<Tls> {
        self.0.load_full()
    }
}
