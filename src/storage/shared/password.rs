//! The password and the certificates of the connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{ClientTlsConfig, TlsCertificates};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::domain::personal::Secret;

/// How long reading the password's file may take.
const WITHIN: Duration = Duration::from_millis(250);

/// The password. Each connection uses what its file says then; a reload may replace it, and names another file. Clones
/// share it.
#[derive(Debug, Clone, Default)]
pub struct Password(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    secret: ArcSwapOption<Secret>,
    file: ArcSwapOption<PathBuf>,
}

/// The certificates, as PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Whom to trust; the authorities of this machine if not set.
    pub ca: Option<Vec<u8>>,
    /// Our certificate and its key, if Redis asks for one.
    pub identity: Option<(Vec<u8>, Secret)>,
}

impl Password {
    /// The password as it was read with the configuration, and the file that it is in, if it is in one.
    pub fn new(secret: Option<Secret>, file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { secret: ArcSwapOption::from_pointee(secret), file: ArcSwapOption::from_pointee(file) }))
    }

    /// Takes over the password of a newer configuration.
    pub fn replace(&self, newer: &Self) {
        self.0.secret.store(newer.0.secret.load_full());
        self.0.file.store(newer.0.file.load_full());
    }

    /// The password as its file says it now; as it was known last if that cannot be read.
    pub(super) async fn get(&self) -> Option<Arc<Secret>> {
        if let Some(file) = self.0.file.load_full() {
            // A disk may hang.
            let read = timeout(WITHIN, spawn_blocking(move || std::fs::read_to_string(&*file))).await;
            match read {
                Ok(Ok(Ok(text))) if !text.trim_end_matches(['\r', '\n']).is_empty() => {
                    let secret = Secret::new(text.trim_end_matches(['\r', '\n']).to_owned());
                    self.0.secret.store(Some(Arc::new(secret)));
                }
                _ => tracing::warn!("the file of shared.password cannot be read; the last password is used"),
            }
        }
        self.0.secret.load_full()
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
