//! The password and the certificates of the connection.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use redis::{ClientTlsConfig, TlsCertificates};

use crate::domain::personal::Secret;

/// The password, which a reload may replace: the next connection uses the new one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Password(Arc<ArcSwapOption<Secret>>);

/// The certificates, as PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whom to trust; the authorities of this machine if not set.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key, if Redis asks for one.
    pub identity: Option<(Vec<u8>, Secret)>,
}

impl Password {
    pub fn new(secret: Option<Secret>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(secret)))
    }

    /// Takes over the password of a newer configuration.
    pub fn replace(&self, newer: &Self) {
        self.0.store(newer.0.load_full());
    }

    pub(super) fn get(&self) -> Option<Arc<Secret>> {
        self.0.load_full()
    }
}

impl Tls {
    pub(super) fn certificates(&self) -> TlsCertificates {
        let client_tls = self.identity.as_ref().map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.expose().as_bytes().to_vec(),
        });
        TlsCertificates { client_tls, root_cert: self.ca.clone() }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls(ca: {}, identity: {})", self.ca.is_some(), self.identity.is_some())
    }
}
