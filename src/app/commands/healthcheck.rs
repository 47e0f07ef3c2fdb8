//! `idgate healthcheck`, for containers without a shell.
//!
//! Over TLS it checks neither the name nor the issuer of the certificate. It sends no secret and talks only to its own
//! machine, so there is nothing to protect. Comparing with the configured certificate would report a healthy process as
//! dead while a certificate is being replaced, or after a refused reload, and the orchestrator would kill it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::app::commands::output::say;
use crate::app::config::Sources;

const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn run(sources: &Sources) -> anyhow::Result<ExitCode> {
    let (mut address, is_tls) =
        sources.admin().context("server.admin_listen cannot be read; run `idgate check` to see why")?;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    let url = format!("{}://{address}/livez", if is_tls { "https" } else { "http" });
    let answer = if is_tls {
        get_over_tls(address, "/livez")
    } else {
        connect(address).and_then(|to| get(to, address, "/livez"))
    };
    let answer = answer.with_context(|| match is_tls {
        true => format!(
            "no answer from {url}; if server.admin_tls.client_certificate is \"required\", change it to \"optional\""
        ),
        false => format!("no answer from {url}"),
    })?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{url} did not answer 200; see the log of the gateway");
    say("alive")?;
    Ok(ExitCode::SUCCESS)
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Written by hand: nothing else in the binary needs a blocking HTTP client.
fn get(mut stream: impl Read + Write, address: SocketAddr, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}

fn get_over_tls(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::IpAddress(address.ip().into()));
    get(StreamOwned::new(session.map_err(std::io::Error::other)?, connect(address)?), address, path)
}

/// Accepts any certificate whose private key the server has.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
