//! Wrong certificates, keys and revocation lists: each mistake is reported with its key and remedy, and never with a
//! byte of a private key.

use idgate::app::config::Sources;

use crate::support::pki::{Authority, Issued, asks};

/// A configuration that is valid except for what is added.
fn with(toml: &str) -> String {
    format!(
        "{toml}\n[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
         app_code = {{ value = \"synthetic\" }}\n[chain]\norder = [\"p\"]\n"
    )
}

/// The mistakes as `key: problem`; empty if there are none.
fn mistakes(toml: &str) -> Vec<String> {
    match Sources::text(with(toml)).load() {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
    }
}

/// Checks that this is the only mistake.
fn assert_mistake(toml: &str, key: &str, says: &str) {
    let all = mistakes(toml);
    assert!(all.len() == 1 && all[0].starts_with(&format!("{key}: ")) && all[0].contains(says), "{toml}\n{all:#?}");
}

fn section(certificate: &str, key: &str, more: &str) -> String {
    format!("[server.tls]\ncertificate = {certificate:?}\nkey = {{ file = {key:?} }}\n{more}\n")
}

fn parts(issued: &Issued) -> (String, String) {
    (issued.certificate.display().to_string(), issued.key.display().to_string())
}

#[test]
fn what_is_wrong_with_files_is_told_with_key_and_remedy() {
    let authority = Authority::new("ours");
    let (server, other) = (authority.server(), authority.server());
    let (certificate, key) = parts(&server);
    assert_eq!(mistakes(&section(&certificate, &key, "")), Vec::<String>::new());
    let file = |name: &str, content: &[u8]| authority.file(name, content).display().to_string();
    let (garbage, der) = (file("garbage", b"no certificate, no key"), file("server.der", &server.der));
    let broken = file("broken", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let half = file("half", b"-----BEGIN CERTIFICATE-----\nAAAA\n");

    assert_mistake(&section("/no/such/file", &key, ""), "server.tls.certificate", "cannot be read");
    assert_mistake(&section(&garbage, &key, ""), "server.tls.certificate", "-----BEGIN CERTIFICATE-----");
    assert_mistake(&section(&der, &key, ""), "server.tls.certificate", "-----BEGIN CERTIFICATE-----");
    assert_mistake(&section(&broken, &key, ""), "server.tls.certificate", "X.509");
    assert_mistake(&section(&half, &key, ""), "server.tls.certificate", "PEM");
    assert_mistake(&section(&certificate, "/no/such/file", ""), "server.tls.key", "cannot be read");
    assert_mistake(&section(&certificate, &garbage, ""), "server.tls.key", "-----BEGIN PRIVATE KEY-----");
    assert_mistake(
        &section(&certificate, &parts(&other).1, ""),
        "server.tls.key",
        "does not belong to the certificate",
    );
    assert_mistake(&format!("[server.tls]\ncertificate = {certificate:?}"), "server.tls.key", "is missing");
    assert_mistake(&format!("[server.admin_tls]\ncertificate = {certificate:?}"), "server.admin_tls.key", "is missing");

    let ca = format!("client_ca = {:?}", authority.path());
    let wrong_ca = |file: &str| format!("client_ca = {file:?}\nclient_certificate = \"required\"");
    assert_mistake(&section(&certificate, &key, &ca), "server.tls.client_ca", "client_certificate");
    assert_mistake(&section(&certificate, &key, &wrong_ca(&garbage)), "server.tls.client_ca", "certificate");
    assert_mistake(&section(&certificate, &key, &wrong_ca("/no/such")), "server.tls.client_ca", "cannot be read");
    let wanted = "client_certificate = \"optional\"";
    assert_mistake(&section(&certificate, &key, wanted), "server.tls.client_certificate", "client_ca");
    let lists = |file: &str| format!("client_crl = [{file:?}]");
    let list = authority.list().display().to_string();
    assert_mistake(&section(&certificate, &key, &lists(&list)), "server.tls.client_crl", "client_ca");
    let asked = asks(&authority, "required");
    let with_list = |file: &str| section(&certificate, &key, &format!("{asked}\n{}", lists(file)));
    assert_eq!(mistakes(&with_list(&list)), Vec::<String>::new());
    assert_mistake(&with_list(&certificate), "server.tls.client_crl[0]", "X509 CRL");
    assert_mistake(&with_list(&garbage), "server.tls.client_crl", "PEM or DER");
    assert_mistake(&with_list("/no/such"), "server.tls.client_crl[0]", "cannot be read");
    for wrong in ["0s", "2562047788015215h"] {
        let wrong = format!("handshake_timeout = {wrong:?}");
        assert_mistake(&section(&certificate, &key, &wrong), "server.tls.handshake_timeout", "5s");
    }
    assert_mistake(
        &section(&certificate, &key, "client_certificate = \"sometimes\""),
        "server.tls.client_certificate",
        "",
    );
}

#[test]
fn no_mistake_quotes_a_key() {
    let authority = Authority::new("ours");
    let server = authority.server();
    let (certificate, key) = parts(&server);
    let inside: Vec<_> = server.key_pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let swapped = section(&key, &certificate, "");
    let damaged = authority.file("damaged.key", server.key_pem.replace("-----END", "----END"));
    let encrypted = authority.file("encrypted.key", server.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let inline = format!("[server.tls]\ncertificate = {certificate:?}\nkey = {:?}\n", server.key_pem);
    let damaged = section(&certificate, &damaged.display().to_string(), "");
    let encrypted = section(&certificate, &encrypted.display().to_string(), "");
    for toml in [swapped, damaged, inline, encrypted] {
        let all = mistakes(&toml);
        assert!(!all.is_empty(), "{toml}");
        assert!(!all.iter().any(|one| inside.iter().any(|line| one.contains(line))), "{all:#?}");
    }
    let settings = Sources::text(with(&section(&certificate, &key, ""))).load().unwrap();
    let shown = format!("{settings:?}");
    assert!(!inside.iter().any(|line| shown.contains(line)) && shown.contains("Tls {"), "{shown}");
}

#[test]
fn an_expired_certificate_is_no_mistake() {
    let authority = Authority::new("ours");
    let old = authority.server_until(2020);
    let (certificate, key) = parts(&old);
    let settings = Sources::text(with(&section(&certificate, &key, ""))).load().unwrap();
    assert_eq!(settings.tls.unwrap().expires().unwrap().to_string(), "2020-01-01T00:00:00Z");
}

const A_CLIENT: &str = "[clients.payout]\nkeys = [{ id = \"k\", sha256 = \
                        \"1111111111111111111111111111111111111111111111111111111111111111\" }]\n";

#[test]
fn certificates_that_nobody_could_show_are_mistakes() {
    let authority = Authority::new("ours");
    let tls = |more: &str| authority.server().section("tls", more);
    let admin_tls = |more: &str| authority.server().section("admin_tls", more);
    let by = "certificates = [{ id = \"c\", uri = \"spiffe://test/payout\" }]\n";
    let asked = asks(&authority, "optional");
    let good = format!("{}[clients.payout]\n{by}", tls(&asked));
    assert_eq!(mistakes(&good), Vec::<String>::new());
    assert_mistake(&format!("[clients.payout]\n{by}"), "clients.payout.certificates", "server.tls.client_ca");
    assert_mistake(
        &format!("{}[clients.payout]\n{by}", tls("")),
        "clients.payout.certificates",
        "server.tls.client_ca",
    );
    assert_mistake(
        &format!("{}[operators.oncall]\n{by}", tls(&asked)),
        "operators.oncall.certificates",
        "server.admin_tls.client_ca",
    );
    assert_eq!(mistakes(&format!("{}[operators.oncall]\n{by}", admin_tls(&asked))), Vec::<String>::new());
    assert_mistake("[clients.payout]\n", "clients.payout.keys", "idgate key new");
    assert_mistake("[operators.oncall]\n", "operators.oncall.keys", "idgate key new");
}

#[test]
fn a_certificate_names_its_owner_in_one_way_and_has_one_owner() {
    let authority = Authority::new("ours");
    let tls = authority.server().section("tls", &asks(&authority, "optional"));
    let client = |name: &str, list: &str| format!("[clients.{name}]\ncertificates = [{list}]\n");
    let one = |list: &str| format!("{tls}{}", client("one", list));
    for list in [
        "{ id = \"c\" }",
        "{ id = \"c\", uri = \"spiffe://a\", dns = \"a.example\" }",
        "{ id = \"c\", uri = \"no uri\" }",
        "{ id = \"c\", dns = \"\" }",
        "{ id = \"c\", sha256 = \"1234\" }",
    ] {
        assert_mistake(&one(list), "clients.one.certificates[0]", "exactly one of");
    }
    assert_mistake(&one("{ id = \"\", dns = \"a.example\" }"), "clients.one.certificates[0].id", "logs");
    for (this, same) in [
        ("uri = \"spiffe://a\"".to_owned(), "uri = \"spiffe://a\"".to_owned()),
        ("dns = \"a.example\"".to_owned(), "dns = \"A.Example\"".to_owned()),
        (format!("sha256 = \"{}\"", "ab".repeat(32)), format!("sha256 = \"{}\"", "AB".repeat(32))),
    ] {
        let lists = [this, same].map(|mark| format!("{{ id = \"c\", {mark} }}"));
        let toml = format!("{tls}{}{}", client("one", &lists[0]), client("two", &lists[1]));
        assert_mistake(&toml, "clients.two.certificates[0]", "is the same certificate as clients.one.certificates[0]");
    }
}

#[test]
fn what_a_request_has_to_show_must_be_possible() {
    let authority = Authority::new("ours");
    let tls = authority.server().section("tls", &asks(&authority, "optional"));
    let wanted = |identity: &str| format!("[server]\nclient_identity = {identity:?}\n");
    let by = "[clients.other]\ncertificates = [{ id = \"c\", dns = \"a.example\" }]\n";
    assert_mistake(&format!("{}{A_CLIENT}", wanted("any")).replace("any", "all"), "server.client_identity", "words");
    for identity in ["certificate", "both"] {
        let all = mistakes(&format!("{}{A_CLIENT}", wanted(identity)));
        assert!(all[1].starts_with("server.client_identity: requires certificates"), "{all:#?}");
        assert!(all[0].starts_with("clients.payout.certificates: is empty"), "{all:#?}");
        assert_mistake(&format!("{}{tls}", wanted(identity)), "server.client_identity", "no client is configured");
    }
    assert_mistake(&format!("{}{tls}{by}", wanted("key")), "clients.other.keys", "is empty");
    assert_mistake(&format!("{}{tls}{by}", wanted("both")), "clients.other.keys", "is empty");
    assert_eq!(mistakes(&format!("{}{tls}{by}", wanted("certificate"))), Vec::<String>::new());
    assert_eq!(mistakes(&format!("{}{A_CLIENT}", wanted("key"))), Vec::<String>::new());
}

#[test]
fn without_operators_the_admin_listener_is_on_loopback_only() {
    let operator = A_CLIENT.replace("clients.payout", "operators.oncall");
    for (listen, good) in [("127.0.0.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("192.0.2.1:80", false)] {
        let toml = format!("[server]\nadmin_listen = {listen:?}\n");
        match good {
            true => assert_eq!(mistakes(&toml), Vec::<String>::new()),
            false => assert_mistake(&toml, "server.admin_listen", "[operators.NAME]"),
        }
        assert_eq!(mistakes(&format!("{toml}{operator}")), Vec::<String>::new());
    }
    let twice = format!("{operator}{}", operator.replace("oncall", "night"));
    assert_mistake(&twice, "operators.oncall.keys[0]", "is the same key as operators.night.keys[0]");
}

#[test]
fn a_new_certificate_and_a_new_key_are_changes_of_the_listeners_own_section() {
    let authority = Authority::new("ours");
    let (one, two) = (authority.server(), authority.server());
    let load = |issued: &Issued, more: &str| {
        let toml = with(&format!("{}{more}", issued.section("tls", "")));
        Sources::text(toml).load().unwrap().sections
    };
    let before = load(&one, "");
    assert_eq!(before.difference(&load(&one, "")).to_string(), "nothing");
    assert_eq!(before.difference(&load(&two, "")).to_string(), "changed server.tls");
    // The same file names with other content.
    std::fs::write(&one.certificate, &two.certificate_pem).unwrap();
    std::fs::write(&one.key, &two.key_pem).unwrap();
    assert_eq!(before.difference(&load(&one, "")).to_string(), "changed server.tls");
    let moved = load(&one, "[server]\nmax_in_flight = 7\n");
    assert_eq!(load(&one, "").difference(&moved).to_string(), "changed server");
}
