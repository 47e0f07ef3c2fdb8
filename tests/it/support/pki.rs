//! Certificates for tests: authorities, issued certificates and revocation lists. The files are deleted with the
//! [`Authority`].

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::process;

/// A certificate authority with a folder for its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate and its key, in memory and in files.
#[derive(Clone)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub der: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key_pem: String,
    serial: SerialNumber,
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Authority {
    /// A new authority; two with the same name have different keys.
    pub fn new(name: &str) -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    fn within(parent: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let folder = parent.join(format!("pki-{}-{}", std::process::id(), next()));
        std::fs::create_dir_all(&folder).unwrap();
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        let authority = Self { issuer, folder };
        authority.file("list.pem", authority.revokes_pem(&[]));
        authority
    }

    /// The file of its own certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes a file to its folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A certificate for a listener on this machine.
    pub fn server(&self) -> Issued {
        self.server_until(4096)
    }

    /// The same, valid until the beginning of `year`.
    pub fn server_until(&self, year: i32) -> Issued {
        self.issue(|params| {
            params.not_after = date_time_ymd(year, 1, 1);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names =
                CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap().subject_alt_names;
        })
    }

    /// A client certificate with this name, as a URI if it is one, otherwise as a DNS name.
    pub fn client(&self, name: &str) -> Issued {
        self.issue(|params| as_client(params, &[name]))
    }

    /// A client certificate with these names.
    pub fn client_of(&self, names: &[&str]) -> Issued {
        self.issue(|params| as_client(params, names))
    }

    /// An expired client certificate.
    pub fn expired_client(&self, name: &str) -> Issued {
        self.issue(|params| {
            as_client(params, &[name]);
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    /// A certificate with the parameters that `shape` sets.
    pub fn issue(&self, shape: impl FnOnce(&mut CertificateParams)) -> Issued {
        let number = next();
        let serial = SerialNumber::from(number);
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial.clone());
        params.use_authority_key_identifier_extension = true;
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        let key = self.file(&format!("{number}.key"), &key_pem);
        // Production requires that only the owner can read a key.
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Issued {
            certificate: self.file(&format!("{number}.pem"), &certificate_pem),
            key,
            der: certificate.der().clone(),
            certificate_pem,
            key_pem,
            serial,
        }
    }

    /// A revocation list, in DER.
    pub fn revokes(&self, revoked: &[&Issued]) -> Vec<u8> {
        self.list_of(revoked).der().to_vec()
    }

    /// The same, in PEM.
    pub fn revokes_pem(&self, revoked: &[&Issued]) -> String {
        self.list_of(revoked).pem().unwrap()
    }

    /// The file of an empty revocation list.
    pub fn list(&self) -> PathBuf {
        self.folder.join("list.pem")
    }

    fn list_of(&self, revoked: &[&Issued]) -> rcgen::CertificateRevocationList {
        let one = |issued: &&Issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(next()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    /// A connector that trusts this authority, with a client certificate and ALPN protocols.
    pub fn connector(&self, client: Option<&Issued>, alpn: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![issued.der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// An HTTP client that trusts this authority only.
    pub fn http(&self, client: Option<&Issued>) -> reqwest::Client {
        self.builder(client).build().unwrap()
    }

    /// The same, still to be built.
    pub fn builder(&self, client: Option<&Issued>) -> reqwest::ClientBuilder {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .retry(reqwest::retry::never())
            .tls_certs_only([reqwest::Certificate::from_pem(self.pem().as_bytes()).unwrap()]);
        if let Some(issued) = client {
            let pem = format!("{}{}", issued.key_pem, issued.certificate_pem);
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Issued {
    /// The SHA-256 of the certificate, as written in a configuration.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }

    /// The configuration section of a listener with this certificate.
    pub fn section(&self, name: &str, more: &str) -> String {
        let Self { certificate, key, .. } = self;
        format!("[server.{name}]\ncertificate = {certificate:?}\nkey = {{ file = {key:?} }}\n{more}\n")
    }
}

/// An authority and a server certificate shared by all tests.
pub fn shared() -> &'static (Authority, Issued) {
    static SHARED: LazyLock<(Authority, Issued)> = LazyLock::new(|| {
        let authority = Authority::within(process::shared_folder(), "of all tests");
        let server = authority.server();
        (authority, server)
    });
    &SHARED
}

/// The lines of a listener's section that request certificates of `authority`.
pub fn asks(authority: &Authority, how: &str) -> String {
    format!("client_ca = {:?}\nclient_certificate = {how:?}", authority.path())
}

fn as_client(params: &mut CertificateParams, names: &[&str]) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let name = |name: &&str| match name.contains("://") {
        true => SanType::URI((*name).try_into().unwrap()),
        false => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
}

/// Performs a handshake with a listener on this machine.
pub async fn over_tls<S>(connector: &TlsConnector, stream: S) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}
