//! Whom we believe to be a provider: TLS 1.2 or 1.3, a chain to a root that came with the binary or with the
//! configuration, the right name, a valid date, and, where pins are configured, one of the pinned keys on top.
//!
//! Invariants: a pin never replaces the chain; nothing of a certificate is told, only which check refused it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::pin::Pin;
use super::settings::{Outbound, Roots};
use crate::domain::outcome::Reason;

/// What all TLS configurations of one graph share.
#[derive(Debug)]
pub(in crate::verify) struct Trust {
    crypto: Arc<CryptoProvider>,
    /// The system's root store may be absent (a minimal container), so the roots come with the binary.
    built_in: Arc<RootCertStore>,
}

/// A chain that is right and a key that is none of the pinned ones.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the certificate is valid, and its key is none of the pinned ones")]
struct PinMismatch;

/// The usual check, then the pins.
#[derive(Debug)]
struct Pinned {
    chain: Arc<WebPkiServerVerifier>,
    pins: Vec<Pin>,
}

impl Trust {
    pub(in crate::verify) fn new() -> Self {
        let mut built_in = RootCertStore::empty();
        built_in.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        Self { crypto: Arc::new(rustls::crypto::aws_lc_rs::default_provider()), built_in: Arc::new(built_in) }
    }

    /// How connections of `outbound` are secured.
    ///
    /// # Errors
    /// When a root is none, which the configuration has ruled out, or the TLS library is unusable.
    pub(in crate::verify) fn client_config(&self, outbound: &Outbound) -> Result<ClientConfig, rustls::Error> {
        let roots = self.roots(outbound)?;
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.crypto))
            .build()
            .map_err(|_| rustls::Error::General("no roots".to_owned()))?;
        let verifier: Arc<dyn ServerCertVerifier> = match &*outbound.pins {
            [] => chain,
            pins => Arc::new(Pinned { chain, pins: pins.to_vec() }),
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.crypto))
            .with_safe_default_protocol_versions()?
            // The name of the door to verifiers of one's own; ours checks more than the usual one, not less.
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self, outbound: &Outbound) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut roots = match outbound.roots {
            Roots::BuiltIn if outbound.authorities.is_empty() => return Ok(Arc::clone(&self.built_in)),
            Roots::BuiltIn => RootCertStore::clone(&self.built_in),
            Roots::CaFileOnly => RootCertStore::empty(),
        };
        for authority in &outbound.authorities {
            roots.add(authority.clone())?;
        }
        Ok(Arc::new(roots))
    }
}

/// Whether `certificate` can be a root.
pub fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// Which check of ours an error of the connection comes from, if it comes from one.
pub(in crate::verify) fn refusal(error: &(dyn Error + 'static)) -> Option<Reason> {
    Some(match of_tls(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) if other.is::<PinMismatch>() => {
            Reason::PinMismatch
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Reason::CertificateRefused,
        _ => Reason::TlsFailed,
    })
}

/// The error of the TLS library among the causes of `error`.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error shows what it wraps here, and as its cause only what is behind that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| of_tls(wrapped)) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        if Pin::of(end_entity).is_some_and(|key| self.pins.contains(&key)) {
            return Ok(verified);
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(PinMismatch)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
