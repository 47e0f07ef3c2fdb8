//! `[server.tls]` and `[server.admin_tls]`: reads and checks their files, and checks the certificates of clients and
//! operators against them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::app::config::change::Sections;
use crate::app::config::draft::Draft;
use crate::app::config::raw::Server;
use crate::server::auth::certificates::{CertificateConfig, Identity, duplicates};
use crate::server::auth::client_config::ClientConfig;
use crate::server::auth::operators::OperatorConfig;
use crate::server::listener::tls::{Material, Section};
use crate::server::listener::{Tls, tls};

/// Builds the TLS configuration of the section at `at`, whose private key is the secret `key_at`.
pub(in crate::app::config) fn finish(
    (at, key_at): (&str, &str),
    section: Option<&Section>,
    sections: &mut Sections,
    read: &mut Draft,
) -> Option<Tls> {
    let section = section?;
    let mut file = |key: &str, path: &Path| {
        let content = read.files.read(path);
        match content {
            Ok(content) => {
                sections.with_file(at, &content);
                Some(content)
            }
            Err(error) => {
                read.mistake(format!("{at}.{key}"), format!("the file {} cannot be read: {error}", path.display()));
                None
            }
        }
    };
    let certificate = file("certificate", &section.certificate);
    let client_ca = section.client_ca.as_ref().map(|path| file("client_ca", path));
    let lists: Vec<_> = (section.client_crl.iter().enumerate())
        .map(|(index, path)| file(&format!("client_crl[{index}]"), path))
        .collect();
    let key = read.secrets.remove(key_at);
    if key.is_none() && !read.mistakes.iter().any(|mistake| mistake.key == key_at) {
        read.mistake(key_at, "is missing; write { file = \"PATH\" } of the certificate's private key");
    }
    let material = Material {
        certificate: certificate.as_ref().map(|content| &***content),
        key: key.as_ref(),
        client_ca: client_ca.as_ref().and_then(Option::as_ref).map(|content| &***content),
        client_crl: lists.iter().map(|list| list.as_ref().map(|content| &***content)).collect(),
    };
    section.build(&material).map_err(|mistakes| read.section(at, mistakes)).ok()
}

/// Checks that every configured client certificate can be presented.
pub(in crate::app::config) fn check_certificates(
    server: &Server,
    clients: &BTreeMap<String, ClientConfig>,
    operators: &BTreeMap<String, OperatorConfig>,
    read: &mut Draft,
) {
    let asked_for = |section: &Option<tls::Section>| section.as_ref().is_some_and(tls::Section::asks_for_certificates);
    let public = (asked_for(&server.tls), "server.tls");
    let admin = (asked_for(&server.admin_tls), "server.admin_tls");
    let of_clients = clients.iter().map(|(name, client)| (format!("clients.{name}"), &*client.certificates));
    let of_operators = operators.iter().map(|(name, operator)| (format!("operators.{name}"), &*operator.certificates));
    let of_clients: Vec<(String, &[CertificateConfig])> = of_clients.collect();
    let of_operators: Vec<(String, &[CertificateConfig])> = of_operators.collect();
    for (all, (asked_for, listener)) in [(&of_clients, public), (&of_operators, admin)] {
        for (section, _) in all.iter().filter(|(_, list)| !list.is_empty() && !asked_for) {
            read.mistake(
                format!("{section}.certificates"),
                format!(
                    "can never be presented; write {listener}.client_ca = \"PATH\" and {listener}.client_certificate = \
                     \"optional\" or \"required\""
                ),
            );
        }
        for (key, problem) in duplicates(all.iter().cloned()) {
            read.mistake(key, problem);
        }
    }
    let identity = server.client_identity;
    let wants_certificate = matches!(identity, Identity::Certificate | Identity::Both);
    if wants_certificate && !asked_for(&server.tls) {
        let problem = "requires certificates, but server.tls does not request them; write server.tls.client_ca and \
                       server.tls.client_certificate, or \"key\" here";
        read.mistake("server.client_identity", problem);
    }
    if wants_certificate && clients.is_empty() {
        read.mistake(
            "server.client_identity",
            "requires certificates, but no client is configured; add [clients.NAME]",
        );
    }
    for (name, client) in clients {
        let wants_key = matches!(identity, Identity::Key | Identity::Both);
        // A client with neither is reported elsewhere.
        let has_key = !client.keys.is_empty() || client.has_issued();
        let missing = match (!has_key, client.certificates.is_empty()) {
            (true, false) if wants_key => "keys",
            (false, true) if wants_certificate => "certificates",
            _ => continue,
        };
        let problem =
            "is empty, but server.client_identity requires one, so this client could not use the API; add one";
        read.mistake(format!("clients.{name}.{missing}"), problem);
    }
}
