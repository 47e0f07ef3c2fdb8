//! The network between the gateway and a provider: a certificate authority, TLS front ends, an HTTP proxy, a DNS
//! resolver. Everything runs on loopback; the front ends forward to a simulator.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use idgate::verify::outbound::dns::LookUp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Issues certificates; its own certificate is in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

/// A TLS front end that forwards to a simulator.
pub struct Door {
    pub addr: SocketAddr,
    to: Arc<OnceLock<SocketAddr>>,
}

/// An HTTP proxy that tunnels every CONNECT to one address and records the request lines.
pub struct Tunnels {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// A DNS resolver that gives one answer after the other and repeats the last one.
#[derive(Debug)]
pub struct NameServer(Mutex<VecDeque<Option<Vec<IpAddr>>>>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        // Each test uses its own names.
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// The configuration line that trusts this authority.
    pub fn ca_file(&self) -> String {
        format!("ca_file = {:?}", self.file.display().to_string())
    }

    /// A currently valid certificate for these names.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, 2100)
    }

    /// The same, valid until the beginning of `year`.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], key }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Identity {
    /// The SHA-256 of its public key, as `pinned_sha256` expects it.
    pub fn pin(&self) -> String {
        hex::encode(Sha256::digest(self.key.subject_public_key_info()))
    }

    fn acceptor(&self) -> TlsAcceptor {
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Door {
    /// Listens on a free port of 127.0.0.1.
    pub async fn open(identity: &Identity) -> Self {
        let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), identity.acceptor());
        let (addr, to) = (listener.local_addr().unwrap(), Arc::new(OnceLock::new()));
        let target = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, target) = (acceptor.clone(), Arc::clone(&target));
                tokio::spawn(async move {
                    // A failed handshake is what some tests check; the client reports it.
                    let Ok(mut inside) = acceptor.accept(socket).await else { return };
                    let mut simulator =
                        TcpStream::connect(target.get().expect("the door leads somewhere")).await.unwrap();
                    let _ = copy_bidirectional(&mut inside, &mut simulator).await;
                });
            }
        });
        Self { addr, to }
    }

    /// Sets the address to forward to.
    pub fn lead_to(&self, addr: SocketAddr) {
        self.to.set(addr).expect("a door leads to one place");
    }

    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.addr.port())
    }
}

/// A server that answers every ClientHello with TLS 1.1.
pub async fn tls_1_1() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            let _ = socket.read(&mut hello).await;
            // A record (22, 3.2, 42 bytes) with a ServerHello (2, 38 bytes): 3.2, 32 random bytes, no session,
            // TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression.
            let mut answer = vec![22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
            answer.extend([7; 32]);
            answer.extend([0, 0xc0, 0x13, 0]);
            let _ = socket.write_all(&answer).await;
            let _ = socket.read(&mut hello).await;
        }
    });
    addr
}

impl Tunnels {
    /// A proxy whose tunnels all lead to `to`; it requires `login` (`user:password`), if there is one.
    pub async fn open(to: SocketAddr, login: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let wanted = login.map(|login| format!("proxy-authorization: basic {}", STANDARD.encode(login)).to_lowercase());
        let list = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (list, wanted) = (Arc::clone(&list), wanted.clone());
                tokio::spawn(async move {
                    let head = head_of(&mut socket).await;
                    let first = head.lines().next().unwrap_or_default().to_owned();
                    list.lock().unwrap().push(first);
                    if wanted.is_some_and(|wanted| !head.to_lowercase().contains(&wanted)) {
                        let _ = socket.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await;
                        return;
                    }
                    let mut inside = TcpStream::connect(to).await.unwrap();
                    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(&mut socket, &mut inside).await;
                });
            }
        });
        Self { addr, asked }
    }

    /// The request lines received so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn head_of(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

impl NameServer {
    /// The answers, in order: addresses, or `None` for a failure.
    pub fn answering(answers: &[Option<&[&str]>]) -> Arc<Self> {
        let parse = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(|answer| answer.map(parse)).collect())))
    }
}

impl LookUp for NameServer {
    fn look_up(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.flatten().ok_or_else(|| io::Error::other("no such name"))
    }
}
