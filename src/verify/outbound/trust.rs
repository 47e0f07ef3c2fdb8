//! How a provider's certificate is verified: TLS 1.2 or 1.3, a chain to a root from the binary or the configuration,
//! the right name, a valid date and, if pins are configured, also one of the pinned keys.
//!
//! Invariants: a pin never replaces the chain check; only the check that failed is reported, never the content of the
//! certificate.

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

/// The parts that all TLS configurations share. Kept across reloads.
#[derive(Debug)]
pub(in crate::verify) struct Trust {
    crypto: Arc<CryptoProvider>,
    /// Compiled into the binary, because a minimal container may have no system root store.
    built_in: Arc<RootCertStore>,
}

/// The chain is valid, but the key is not pinned.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the certificate is valid, and its key is none of the pinned ones")]
struct PinMismatch;

/// Checks the chain as usual, then the pins.
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

    /// The TLS configuration for `outbound`.
    ///
    /// # Errors
    /// A root is not usable, which the configuration has already checked, or the TLS library is unusable.
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
            // The only way to install a custom verifier. Ours checks at least as much as the default one.
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

/// Whether `certificate` can be used as a root.
pub fn is_root(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// The TLS check that caused a connection error, if one did.
pub(in crate::verify) fn refusal(error: &(dyn Error + 'static)) -> Option<Reason> {
    Some(match of_tls(error)? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) if other.is::<PinMismatch>() => {
            Reason::PinMismatch
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => Reason::CertificateRefused,
        _ => Reason::TlsFailed,
    })
}

/// The first TLS library error in the source chain of `error`.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `io::Error::source` skips the wrapped error itself and returns that error's source, so look at it here.
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
