//! Builds a [`Tls`] from a section and the files that it names, or reports everything that is wrong with them.
//!
//! Sessions are resumed with tickets, unless client certificates are requested. In that case every connection presents
//! its certificate again, so that a ticket cannot admit one that has been revoked or has expired in the meantime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use serde::Deserialize;
use webpki::{EndEntityCert, KeyUsage};

use super::acceptor::{HTTP1, HTTP2, Tls};
use crate::domain::personal::Secret;
use crate::server::listener::config::LONGEST;

const PEM: &[u8] = b"-----BEGIN ";

/// Whether clients present a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// Not requested.
    #[default]
    Off,
    /// Requested. A client without one is accepted and must authenticate in another way.
    Optional,
    /// A client without one is refused in the handshake.
    Required,
}

/// Section `[server.tls]` or `[server.admin_tls]`. Its `key` is a secret and is passed separately.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// The certificate chain in PEM, the listener's own certificate first.
    pub certificate: PathBuf,
    /// The authorities that may issue client certificates, in PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Revocation lists for client certificates, in PEM or DER.
    #[serde(default)]
    pub client_crl: Vec<PathBuf>,
    #[serde(default)]
    pub client_certificate: ClientCertificates,
    /// A handshake that takes longer is cut.
    #[serde(with = "friendly", default = "default_handshake_timeout")]
    pub handshake_timeout: Duration,
}

/// The contents of the files that a section names; `None` if a file could not be read, which its reader reports.
#[derive(Debug, Default)]
pub struct Material<'a> {
    pub certificate: Option<&'a [u8]>,
    pub key: Option<&'a Secret>,
    pub client_ca: Option<&'a [u8]>,
    /// One for each path in `client_crl`, in the same order.
    pub client_crl: Vec<Option<&'a [u8]>>,
}

/// All mistakes, as (key, what is wrong and what to write).
type Mistakes = Vec<(String, String)>;

const fn default_handshake_timeout() -> Duration {
    Duration::from_secs(5)
}

impl Section {
    /// Whether a client can authenticate with its certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.client_certificate != ClientCertificates::Off && self.client_ca.is_some()
    }

    /// Builds the TLS configuration.
    ///
    /// # Errors
    /// All mistakes, as (key, what is wrong and what to write).
    pub fn build(&self, material: &Material<'_>) -> Result<Tls, Mistakes> {
        let mut mistakes = self.validate();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = material.certificate.and_then(|pem| keep(certificates(pem), "certificate", &mut mistakes));
        let key = material.key.and_then(|key| keep(private_key(key), "key", &mut mistakes));
        let clients = self.client_verifier(material, &provider, &mut mistakes);
        let (Some(chain), Some(key), Some(clients)) = (chain, key, clients) else { return Err(mistakes) };
        let expires = chain.iter().filter_map(end_of).min();
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map(|builder| builder.with_client_cert_verifier(clients))
            .and_then(|builder| builder.with_single_cert(chain, key));
        let mut server = match server {
            Ok(server) => server,
            Err(error) => {
                mistakes.push(unfit(&error));
                return Err(mistakes);
            }
        };
        server.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        if self.client_certificate == ClientCertificates::Off {
            match aws_lc_rs::Ticketer::new() {
                Ok(ticketer) => server.ticketer = ticketer,
                Err(_) => {
                    mistakes.push(("certificate".to_owned(), "no ticket key can be made: no randomness".to_owned()))
                }
            }
        } else {
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        let tls = Tls { server: Arc::new(server), handshake_timeout: self.handshake_timeout, expires };
        if mistakes.is_empty() { Ok(tls) } else { Err(mistakes) }
    }

    /// The checks that need no file.
    fn validate(&self) -> Mistakes {
        let mut mistakes = Mistakes::new();
        let mut say = |key: &str, problem: &str| mistakes.push((key.to_owned(), problem.to_owned()));
        match (self.client_certificate, &self.client_ca) {
            (ClientCertificates::Off, Some(_)) => say(
                "client_ca",
                "is for nobody, since no client certificate is asked for; write client_certificate = \"optional\" or \
                 \"required\" beside it",
            ),
            (ClientCertificates::Optional | ClientCertificates::Required, None) => say(
                "client_certificate",
                "asks for certificates, and no authority is trusted to issue them; write client_ca = \"PATH\"",
            ),
            _ => {}
        }
        if !self.client_crl.is_empty() && self.client_ca.is_none() {
            say("client_crl", "revokes certificates of no authority; write client_ca = \"PATH\" beside it");
        }
        if self.handshake_timeout.is_zero() || self.handshake_timeout > LONGEST {
            say("handshake_timeout", "would cut every handshake, or none; write for example \"5s\"");
        }
        mistakes
    }

    fn client_verifier(
        &self,
        material: &Material<'_>,
        provider: &Arc<CryptoProvider>,
        mistakes: &mut Mistakes,
    ) -> Option<Arc<dyn ClientCertVerifier>> {
        if self.client_certificate == ClientCertificates::Off || self.client_ca.is_none() {
            return Some(WebPkiClientVerifier::no_client_auth());
        }
        let mut roots = RootCertStore::empty();
        for authority in keep(certificates(material.client_ca?), "client_ca", mistakes)? {
            keep(roots.add(authority).map_err(|_| NO_CERTIFICATE.to_owned()), "client_ca", mistakes)?;
        }
        let mut lists = Vec::new();
        for (index, content) in material.client_crl.iter().enumerate() {
            lists.extend(keep(revocation_lists((*content)?), &format!("client_crl[{index}]"), mistakes)?);
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            // Only the list of the authority that issued the client's certificate is needed. If lists are configured
            // but that one is missing, the certificate's status is unknown and the client is refused.
            .with_crls(lists)
            .only_check_end_entity_revocation();
        let builder = match self.client_certificate {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            _ => builder,
        };
        let problem = |error| format!("cannot be used: {error}; write lists of revoked certificates in PEM or DER");
        keep(builder.build().map_err(problem), "client_crl", mistakes)
    }
}

const NO_CERTIFICATE: &str = "holds something that is no X.509 certificate of version 3; write certificates in PEM";

/// The value; an error is added to `mistakes`.
fn keep<T>(result: Result<T, String>, key: &str, mistakes: &mut Mistakes) -> Option<T> {
    result.map_err(|problem| mistakes.push((key.to_owned(), problem))).ok()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|_| "is not PEM; write a file with -----BEGIN CERTIFICATE-----".to_owned())?;
    if all.is_empty() {
        return Err("holds no certificate in PEM; write a file with -----BEGIN CERTIFICATE-----".to_owned());
    }
    match all.iter().all(|der| EndEntityCert::try_from(der).is_ok()) {
        true => Ok(all),
        false => Err(NO_CERTIFICATE.to_owned()),
    }
}

/// The first private key in a PEM file. Errors do not quote the file.
fn private_key(pem: &Secret) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| {
        "holds no private key in PEM; write one that is not encrypted (-----BEGIN PRIVATE KEY-----, or RSA or EC)"
            .to_owned()
    })
}

/// All lists in a PEM file, or the single one in a DER file.
fn revocation_lists(content: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    if !content.windows(PEM.len()).any(|window| window == PEM) {
        return Ok(vec![CertificateRevocationListDer::from(content.to_vec())]);
    }
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(content).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("holds no list in PEM; write a file with -----BEGIN X509 CRL-----, or DER".to_owned()),
    }
}

/// Why the certificate and the key cannot be used together.
fn unfit(error: &rustls::Error) -> (String, String) {
    let (key, problem) = match error {
        rustls::Error::InconsistentKeys(_) => ("key", "does not belong to the certificate; write the key of that pair"),
        rustls::Error::InvalidCertificate(_) => ("certificate", NO_CERTIFICATE),
        _ => ("key", "is of a kind that cannot be used; write an ECDSA (P-256, P-384), Ed25519 or RSA key"),
    };
    (key.to_owned(), problem.to_owned())
}

/// When a certificate expires. webpki tells it only in the error for an expired certificate, so this verifies the
/// certificate at the end of time.
fn end_of(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    match certificate.verify_for_usage(&[], &[], &[], end_of_time, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            Timestamp::from_second(i64::try_from(not_after.as_secs()).ok()?).ok()
        }
        _ => None,
    }
}
