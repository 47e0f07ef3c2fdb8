//! `config/*.toml` match the code: they load, their examples load, their defaults equal those of the code, and every
//! key is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;

use idgate::app::config::{DEFAULT, Mistakes, Profile, Settings, Sources};
use idgate::providers::DRIVERS;
use idgate::providers::alibaba::credentials::KEYS;
use idgate::resilience::breaker;
use idgate::server::listener;
use idgate::server::records::receipt::keys;

use super::read;
use crate::support::process::shared_folder;
use crate::support::{Pair, TestGateway, pki};

/// Defaults described in prose, because they are the value of another key or depend on the driver.
const TOLD_IN_WORDS: [&str; 4] = ["burst", "daily_cap", "longest_max_age", "price_yuan"];

/// A TOML line of the defaults, active or commented out.
#[derive(Debug, Clone)]
struct Entry {
    section: String,
    key: String,
    text: String,
    /// The comment after the value.
    note: String,
    is_example: bool,
}

/// Every key of the embedded file, examples included, with its section as the header names it.
fn entries() -> Vec<Entry> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in DEFAULT.lines() {
        let (text, is_example) = line.strip_prefix("# ").map_or((line, false), |text| (text, true));
        let (code, note) = text.split_once(" #").unwrap_or((text, ""));
        if let Some(header) = code.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = header.to_owned();
        } else if let Some((key, _)) = code.split_once(" = ").filter(|(key, _)| is_key(key)) {
            let (key, text) = (key.to_owned(), code.trim().to_owned());
            entries.push(Entry { section: section.clone(), key, text, note: note.trim().to_owned(), is_example });
        }
    }
    entries
}

fn is_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The entries as a configuration file, with paths that exist on this machine.
fn file(entries: &[Entry]) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    // The record is a file or PostgreSQL, of which the example has more keys.
    let is_other = |entry: &&Entry| entry.section == "ledger" && entry.key == "file";
    for Entry { section, text, .. } in entries.iter().filter(|entry| !is_other(entry)) {
        *sections.entry(section).or_default() += &format!("{text}\n");
    }
    let file: String = sections
        .iter()
        .map(|(name, keys)| if name.is_empty() { keys.clone() } else { format!("[{name}]\n{keys}") })
        .collect();
    on_this_machine(&file)
        .replace("…64 hexadecimal digits…", &"0".repeat(64))
        // One replica shares nothing.
        .replace("\nmost = 1\n", "\nmost = 3\n")
        .replace("order = []", "order = [\"aliyun\", \"yunyi\"]")
}

/// Replaces the paths of secrets, the region table and the certificates by files that exist here.
fn on_this_machine(toml: &str) -> String {
    let (authority, server) = pki::shared();
    let here = |file: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file).display().to_string();
    // The file must be readable by its owner only, which a checkout cannot guarantee. It is created once, since tests
    // run in parallel.
    static SECRET: LazyLock<PathBuf> = LazyLock::new(|| {
        let secret = shared_folder().join("secret");
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/secret");
        std::fs::copy(kept, &secret).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        secret
    });
    // A key for receipts, and the public key of a previous one.
    static RECEIPTS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| {
        let pair = keys::Pair::new().unwrap();
        let [private, public] = ["key", "pub"].map(|end| shared_folder().join(format!("receipts.{end}")));
        std::fs::write(&private, pair.private.expose()).unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&public, keys::Pair::new().unwrap().public).unwrap();
        [private, public]
    });
    toml.split('"')
        .map(|part| match part {
            "/run/secrets/idgate_proxy_login" => here("tests/fixtures/config/login"),
            "/run/secrets/idgate_tls_key" => server.key.display().to_string(),
            "/etc/idgate/tls/server.pem" => server.certificate.display().to_string(),
            "/etc/idgate/tls/clients-ca.pem" => authority.path().display().to_string(),
            "/etc/idgate/tls/clients-crl.pem" => authority.list().display().to_string(),
            "/run/secrets/idgate_receipts_key" => RECEIPTS[0].display().to_string(),
            "/etc/idgate/receipts-2025.pub" => RECEIPTS[1].display().to_string(),
            known if known.starts_with("/run/secrets/") => SECRET.display().to_string(),
            "/etc/idgate/regions.csv" => here("src/domain/data/regions.csv"),
            "/etc/idgate/client.pem" => server.certificate.display().to_string(),
            "/etc/idgate/client.key" => server.key.display().to_string(),
            "/etc/idgate/ca.pem" => here("tests/fixtures/config/ca.pem"),
            other => other.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\"")
}

fn load(toml: &str) -> Result<Settings, Mistakes> {
    let names = toml.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next());
    let environment = names.map(|name| (name.to_owned(), "synthetic".to_owned())).collect();
    Sources { environment, ..Sources::text(toml) }.load()
}

fn shown(toml: &str) -> String {
    format!("{:#?}", load(toml).unwrap_or_else(|mistakes| panic!("{mistakes}\n{toml}")))
}

#[test]
fn the_defaults_load_alone_but_for_the_empty_chain() {
    let Mistakes(mistakes) = Sources::text("").load().unwrap_err();
    let keys: Vec<_> = mistakes.iter().map(|mistake| &*mistake.key).collect();
    assert_eq!(keys, ["chain.order"]);
}

#[test]
fn every_example_of_the_defaults_loads_once_it_is_uncommented() {
    let all = entries();
    assert!(all.iter().filter(|entry| entry.is_example).count() >= 20, "the examples are not recognised: {all:#?}");
    let settings = load(&file(&all)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(settings.verify.providers.len() >= 3);
    assert_eq!(settings.clients.len(), 1);
    assert_eq!(settings.operators.len(), 1);
    assert!(settings.tls.is_some() && settings.admin_tls.is_some());
    assert_eq!(settings.verify.purposes.len(), 1);
}

#[test]
fn what_is_called_a_default_is_what_the_code_does_without_it() {
    let all = entries();
    let mut told = BTreeSet::new();
    let mut compared = 0;
    for (index, entry) in all.iter().enumerate().filter(|(_, entry)| entry.is_example) {
        let Some((_, default)) = entry.note.split_once("default") else { continue };
        let mut without = all.clone();
        without.remove(index);
        let mut with = all.clone();
        if let Some(value) = default.strip_prefix(": ") {
            if TOLD_IN_WORDS.contains(&&*entry.key) {
                told.insert(&*entry.key);
                continue;
            }
            with[index].text = format!("{} = {value}", entry.key);
        }
        if entry.key == "purposes" {
            // Without a client that lists it, the purpose of the example would count as misspelt.
            with.retain(|other| !other.section.starts_with("purposes."));
            without.retain(|other| !other.section.starts_with("purposes."));
        }
        assert_eq!(shown(&file(&with)), shown(&file(&without)), "{entry:?}");
        compared += 1;
    }
    assert!(compared >= 8, "only {compared} defaults were found");
    assert_eq!(told, BTreeSet::from(TOLD_IN_WORDS));
}

#[test]
fn what_the_file_sets_is_what_the_code_would_do_without_a_file() {
    let settings = load(&file(&entries())).unwrap();
    assert_eq!(*settings.verify.breaker, breaker::Config::default());
    let connections = settings.server.connections;
    // The example that depends on another key.
    let (drain_timeout, max_per_address) = (connections.drain_timeout, connections.max_per_address);
    let expected = listener::Config { drain_timeout, max_per_address, ..Default::default() };
    assert_eq!(connections, expected);
}

#[test]
fn no_key_goes_without_a_word_in_the_defaults() {
    let all = entries();
    let sections = [
        "server",
        "server.connections",
        "server.tls",
        "server.admin_tls",
        "log",
        "rules",
        "regions",
        "compat",
        "console",
        "clients.withdrawal",
        "clients.withdrawal.budget",
        "providers.aliyun.budget",
        "[providers.aliyun.packages]",
        "operators.oncall",
        "purposes.withdrawal",
        "cache",
        "ledger.postgres",
        "replica",
        "receipts",
        "holds",
        "enumeration",
        "budget",
        "breaker",
        "account",
        "dns",
        "chain",
    ];
    for section in sections {
        let known = keys_that_exist(&format!("[{section}]\nno_such_key = 1"));
        let below = |entry: &Entry| entry.section.strip_prefix(section)?.strip_prefix('.').map(str::to_owned);
        let here = |entry: &Entry| (entry.section == section).then(|| entry.key.clone());
        let documented: BTreeSet<_> = all.iter().filter_map(|entry| here(entry).or_else(|| below(entry))).collect();
        let missing: Vec<_> = known.difference(&documented).collect();
        assert!(!known.is_empty() && missing.is_empty(), "[{section}] has undocumented keys: {missing:?}");
    }
    let roots = keys_that_exist("no_such_key = 1");
    for root in roots {
        let is_there = all.iter().any(|entry| entry.key == root || entry.section.split('.').next() == Some(&root));
        assert!(is_there, "config/default.toml does not know [{root}]");
    }
    // Tables without a section header: keys in lists, prices.
    let inner = [
        "[clients.a]\nkeys = [{ id = \"a\", sha256 = \"\", no_such_key = 1 }]",
        "[clients.a]\ncertificates = [{ id = \"a\", uri = \"\", no_such_key = 1 }]",
        "[clients.a]\naccess_keys = [{ id = \"a\", no_such_key = 1 }]",
        "[clients.a]\napp_codes = [{ id = \"a\", sha256 = \"\", no_such_key = 1 }]",
        "[clients.a]\napp_keys = [{ key = \"a\", no_such_key = 1 }]",
        "[providers.a]\ndriver = \"aliyun\"\nprice_yuan = { match = \"1\", mismatch = \"1\", no_record = \"1\", no_such_key = 1 }",
    ];
    for toml in inner {
        let known = keys_that_exist(toml);
        assert!(known.len() >= 3, "{known:?}");
        for key in known {
            assert!(DEFAULT.contains(&format!("{key} = ")), "config/default.toml does not know {key}");
        }
    }
}

#[test]
fn no_key_of_a_provider_or_a_driver_goes_without_a_word_in_the_defaults() {
    // Common keys must be in an example; driver keys must at least be named.
    let shown: BTreeSet<_> =
        entries().into_iter().filter(|entry| entry.section.starts_with("providers.")).map(|entry| entry.key).collect();
    for key in ["driver", "endpoints", "connect_timeout", "attempt_timeout", "call_limit", "max_concurrency"] {
        assert!(shown.contains(key), "{key}");
    }
    let fetched = KEYS.iter().flat_map(|(_, keys)| *keys).map(|key| key.trim_start_matches("credentials."));
    for word in KEYS.iter().map(|(kind, _)| *kind).chain(fetched) {
        assert!(DEFAULT.contains(word), "config/default.toml does not know {word}");
    }
    let list = DEFAULT.lines().find_map(|line| line.split_once("`driver` is one of: ")?.1.split_once('.')).unwrap().0;
    assert_eq!(list, DRIVERS.iter().map(|driver| driver.name).collect::<Vec<_>>().join(", "));
    let words: BTreeSet<_> = DEFAULT.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    for driver in DRIVERS {
        let plain = driver.sample().iter().map(|(key, _)| *key);
        for key in driver.secrets().chain(plain) {
            assert!(words.contains(key), "{}: config/default.toml does not know {key}", driver.name);
        }
    }
}

/// The keys accepted in place of `no_such_key`, taken from the error message.
fn keys_that_exist(toml: &str) -> BTreeSet<String> {
    let Mistakes(mistakes) = Sources::text(toml).load().unwrap_err();
    let said = mistakes.iter().find(|mistake| mistake.problem.contains("no_such_key"));
    let said = said.unwrap_or_else(|| panic!("an unknown key passed: {toml}\n{mistakes:#?}"));
    let words = said.problem.split('`').skip(1).step_by(2);
    words.filter(|word| *word != "no_such_key").map(str::to_owned).collect()
}

#[test]
fn the_production_example_loads_under_the_production_profile() {
    let toml = on_this_machine(&read("config/production.example.toml"));
    let settings = load(&toml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(settings.profile, Profile::Production);
    assert_eq!(settings.verify.chain.order, ["aliyun", "yunyi", "muzhiyun"]);
    assert!(settings.verify.providers.len() >= 4, "each of the first drivers has its example");
}

#[tokio::test]
async fn the_key_of_the_compose_sandbox_opens_it() {
    let gateway = TestGateway::new().over(read("config/sandbox-compose.toml")).start().await;
    let pair = Pair::new("张三", "11010519491231002X");
    assert_eq!(gateway.ask_with(&pair, &[("authorization", "Bearer demo-key")]).await.verdict(), "match");
    assert_eq!(gateway.ask(&pair).await.code(), "unauthenticated");
    let metrics = || gateway.http.get(format!("http://{}/metrics", gateway.admin));
    assert_eq!(metrics().send().await.unwrap().status(), 401);
    assert_eq!(metrics().bearer_auth("demo-operator-key").send().await.unwrap().status(), 200);
    let prometheus = read("config/prometheus/prometheus.yml");
    assert!(prometheus.contains("credentials: demo-operator-key"), "Prometheus is the operator of the sandbox");
    assert!(gateway.stop().await);
}

#[test]
fn a_sandbox_refuses_to_start_beside_a_provider_that_is_paid() {
    let file = std::env::temp_dir().join(format!("idgate-contract-{}.toml", std::process::id()));
    let toml = "[providers.real]\ndriver = \"yunyi\"\nendpoints = [\"https://idenauthen.example\"]\n\
                app_code = { value = \"synthetic\" }\n[purposes.default]\norder = [\"real\"]\n";
    std::fs::write(&file, toml).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_idgate"));
    let ports = ["sandbox", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--config"];
    let mut process = command.args(ports).arg(&file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let _ = process.kill();
    process.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(said.contains("providers.real is none"), "{said}");
}

#[test]
fn s43_a_protection_that_would_not_protect_is_a_mistake() {
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let no_key = format!("[clients.a]\nkeys = [{{ id = \"a\", sha256 = {:?} }}]", nothing.to_ascii_uppercase());
    for (toml, key) in [
        (&*no_key, "clients.a.keys[0].sha256"),
        ("[holds]\nwindow = \"0s\"", "holds.window"),
        ("[enumeration]\nwindow = \"0s\"", "enumeration.window"),
        // One client could evict its own entries.
        ("[enumeration]\nnumbers_per_client = 1000000", "enumeration.numbers_per_client"),
        ("[clients.a]\nkeys = []\nlongest_max_age = \"25h\"", "clients.a.longest_max_age"),
        // Durations that would overflow and panic.
        ("[holds]\nlongest = \"2562047788015215h\"", "holds.longest"),
        ("[chain]\nbudget = \"2562047788015215h\"", "chain.budget"),
        ("[server]\nrequest_timeout = \"25h\"", "server.request_timeout"),
        ("[server]\nbody_timeout = \"25h\"", "server.body_timeout"),
        ("[server]\ndrain_timeout = \"25h\"", "server.drain_timeout"),
        ("[server.connections]\nfirst_request_timeout = \"745h\"", "server.connections.first_request_timeout"),
        ("[server.connections]\nmax_connection_age = \"2562047788015215h\"", "server.connections.max_connection_age"),
        ("[providers.a]\ndriver = \"yunyi\"\ncall_limit = \"2h\"", "providers.a.call_limit"),
    ] {
        let Mistakes(mistakes) = Sources::text(toml).load().unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.key == key), "{toml}: {mistakes:#?}");
    }
}
