//! How a listener speaks TLS: the certificate it shows, whom it trusts, and the handle that replaces both while it runs.
//!
//! Invariants: TLS 1.2 and 1.3 only, one crypto provider, named here and never taken from a global; a connection keeps
//! the [`Tls`] it began with, the next one gets the newest; what is wrong with a file is found by [`Section::build`],
//! before anything is bound, and told without a byte of a key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

/// The protocols of HTTP that ALPN offers, the preferred one first.
pub(in crate::server::listener) const HTTP2: &[u8] = b"h2";
pub(in crate::server::listener) const HTTP1: &[u8] = b"http/1.1";

/// One certificate with all that belongs to it, ready for handshakes.
#[derive(Clone)]
pub struct Tls {
    pub(in crate::server::listener) server: Arc<rustls::ServerConfig>,
    pub(in crate::server::listener) handshake_timeout: Duration,
    pub(super) expires: Option<Timestamp>,
}

/// Replaces the [`Tls`] of a listener while it is served: new connections use the new one, old ones go on. Clones
/// replace the same one.
#[derive(Debug, Clone)]
pub struct TlsSwitch(Arc<ArcSwap<Tls>>);

impl Tls {
    /// When the certificate, or the first of its chain to end, ends.
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

    /// Puts `tls` into place. Sessions of before cannot be resumed: each [`Tls`] has ticket keys of its own.
    pub fn replace(&self, tls: Tls) {
        self.0.store(Arc::new(tls));
    }

    pub(in crate::server::listener) fn load(&self) -> Arc<Tls> {
        self.0.load_full()
    }
}
