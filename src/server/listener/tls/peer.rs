//! The client's certificate, once the handshake has verified it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

/// The identity in a verified client certificate. Each request of the connection carries it as an extension.
#[derive(Debug, Clone)]
pub struct PeerCertificate(Arc<Said>);

#[derive(Debug)]
struct Said {
    uris: Vec<String>,
    dns: Vec<String>,
    sha256: [u8; 32],
}

impl PeerCertificate {
    /// Reads a verified certificate. Invalid names are skipped.
    pub(in super::super) fn of(der: &CertificateDer<'_>) -> Self {
        let parsed = EndEntityCert::try_from(der);
        let parsed = parsed.as_ref();
        let uris = parsed.map(|one| one.valid_uri_names().map(str::to_owned).collect());
        let dns = parsed.map(|one| one.valid_dns_names().map(str::to_ascii_lowercase).collect());
        let sha256 = Sha256::digest(der).into();
        Self(Arc::new(Said { uris: uris.unwrap_or_default(), dns: dns.unwrap_or_default(), sha256 }))
    }

    /// The URIs in the subject alternative names.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.0.uris.iter().map(String::as_str)
    }

    /// The DNS names in the subject alternative names, in lower case.
    pub fn dns(&self) -> impl Iterator<Item = &str> {
        self.0.dns.iter().map(String::as_str)
    }

    /// The SHA-256 of the DER certificate.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.0.sha256
    }
}
