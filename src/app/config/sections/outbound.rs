//! The connection to a provider: `ca_file`, `roots`, `pinned_sha256`, `proxy`, `ip` of `[providers.NAME]`.
//!
//! Invariant: a protection without effect (an empty list of pins, a file without a certificate) is a mistake.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::provider_section::Section;
use super::secret::PROXY_LOGIN;
use crate::app::config::change::Sections;
use crate::app::config::draft::Draft;
use crate::domain::personal::Secret;
use crate::providers::Endpoint;
use crate::verify::outbound::pin::Pin;
use crate::verify::outbound::settings::{Family, Outbound, Proxy, Roots};
use crate::verify::outbound::trust;

/// Personal data must leave the buffers within a minute, and the pool checks for idle connections only this often.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

const HOW_TO_PROXY: &str = "write \"http://host:port\"";

/// Checks these keys of the provider at `at`, and reads its `ca_file`.
pub(in crate::app::config) fn finish(
    at: &str,
    section: &Section,
    endpoints: &[Endpoint],
    sections: &mut Sections,
    read: &mut Draft,
) -> Outbound {
    let authorities = match &section.ca_file {
        Some(path) => authorities(at, path, sections, read),
        None => Vec::new(),
    };
    if section.roots == Roots::CaFileOnly && section.ca_file.is_none() {
        read.mistake(format!("{at}.roots"), "trusts only ca_file, but there is none; add ca_file = \"PATH\"");
    }
    let (pins, proxy) = (pins(at, section, endpoints, read), proxy(at, section, read));
    check_family(at, section.ip, endpoints, read);
    if section.idle_timeout.is_zero() || section.idle_timeout > LONGEST_IDLE {
        read.mistake(
            format!("{at}.idle_timeout"),
            "must be above zero and at most 30s, so that we close idle connections before the provider does; write \
             \"20s\"",
        );
    }
    Outbound {
        idle_timeout: section.idle_timeout,
        roots: section.roots,
        authorities,
        pins,
        proxy,
        family: section.ip,
        ..Outbound::direct(section.connect_timeout)
    }
}

fn authorities(at: &str, path: &Path, sections: &mut Sections, read: &mut Draft) -> Vec<CertificateDer<'static>> {
    let (key, shown) = (format!("{at}.ca_file"), path.display());
    let content = match read.files.read(path) {
        Ok(content) => content,
        Err(error) => {
            read.mistake(key, format!("the file {shown} cannot be read: {error}"));
            return Vec::new();
        }
    };
    sections.with_file(at, &content);
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let problem = match all {
        Ok(all) if all.is_empty() => "holds no certificate".to_owned(),
        Ok(all) => match all.iter().position(|one| !trust::is_root(one)) {
            Some(index) => format!("holds a certificate that cannot be read, number {} of {}", index + 1, all.len()),
            None => return all,
        },
        Err(_) => "is not PEM".to_owned(),
    };
    read.mistake(key, format!("the file {shown} {problem}; it must be PEM (-----BEGIN CERTIFICATE-----)"));
    Vec::new()
}

fn pins(at: &str, section: &Section, endpoints: &[Endpoint], read: &mut Draft) -> Vec<Pin> {
    let Some(texts) = &section.pinned_sha256 else { return Vec::new() };
    let key = format!("{at}.pinned_sha256");
    if texts.is_empty() {
        read.mistake(
            &key,
            "is empty, so nothing would be pinned; remove the key, or write the SHA-256 of a public key",
        );
    }
    if let Some(plain) = endpoints.iter().find(|endpoint| !endpoint.is_encrypted()) {
        let plain = plain.authority();
        read.mistake(&key, format!("cannot pin {plain}, which is plain http; write \"https://…\" there"));
    }
    let mut pins = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match Pin::parse(text) {
            Some(pin) => pins.push(pin),
            None => read.mistake(
                format!("{key}[{index}]"),
                "is not a SHA-256 in 64 hexadecimal digits; `idgate config default` shows the command that prints it",
            ),
        }
    }
    pins
}

fn proxy(at: &str, section: &Section, read: &mut Draft) -> Option<Proxy> {
    let login_key = format!("{at}.{PROXY_LOGIN}");
    let login = read.secrets.remove(&login_key);
    let Some(text) = &section.proxy else {
        // An unreadable login was reported already.
        if login.is_some() {
            read.mistake(login_key, "needs a proxy; add proxy = \"http://host:port\"");
        }
        return None;
    };
    if let Err(problem) = check_proxy(text) {
        read.mistake(format!("{at}.proxy"), problem);
    }
    if login.as_ref().is_some_and(|login| !is_login(login)) {
        read.mistake(login_key, "must be one line, user:password; correct the secret");
    }
    Some(Proxy { url: text.clone(), login })
}

fn check_proxy(text: &str) -> Result<(), String> {
    let uri: http::Uri = text.parse().map_err(|_| format!("is not a URL; {HOW_TO_PROXY}"))?;
    let Some(authority) = uri.authority() else { return Err(format!("needs a scheme and a host; {HOW_TO_PROXY}")) };
    // The text before the @ may be a password and is not quoted.
    if authority.as_str().contains('@') {
        return Err(format!("must not hold a user; {HOW_TO_PROXY} here and user:password into {PROXY_LOGIN}"));
    }
    if uri.scheme_str() != Some("http") {
        return Err(format!("must begin with http:// (the tunnel through the proxy is encrypted); {HOW_TO_PROXY}"));
    }
    if authority.port_u16().is_none() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("must be host and port only; {HOW_TO_PROXY}"));
    }
    Ok(())
}

fn is_login(login: &Secret) -> bool {
    let text = login.expose();
    text.split_once(':').is_some_and(|(user, _)| !user.is_empty()) && !text.chars().any(char::is_control)
}

/// `ip` selects among looked-up addresses, so a literal address of the other family could never be used.
fn check_family(at: &str, family: Family, endpoints: &[Endpoint], read: &mut Draft) {
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoint.address().is_some_and(|address: IpAddr| !family.takes(address)) {
            read.mistake(
                format!("{at}.endpoints[{index}]"),
                format!("is an address that {at}.ip excludes; remove `ip`, or write an address of the other kind"),
            );
        }
    }
}
