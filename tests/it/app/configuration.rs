//! `idgate check` reports all mistakes at once, each with key, problem and remedy, and never prints a value that may
//! be secret.

use super::{TempFile, idgate, run};

/// A secret that must never be printed, wherever it was put by mistake.
const SECRET: &str = "synthetic-S3cret-value";

/// The reported mistakes, without indentation.
fn mistakes_of(name: &str, toml: &str) -> Vec<String> {
    let file = TempFile::new(name, toml);
    let ran = run(&mut idgate(&["check", "--config", file.path()]), "");
    assert_eq!((ran.code, &*ran.out), (Some(78), ""), "{}", ran.err);
    assert!(!ran.err.contains(SECRET), "{}", ran.err);
    ran.err.lines().skip(1).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn six_mistakes_are_six_lines_each_with_key_fault_and_remedy() {
    let toml = r#"
        [server]
        request_timeout = "soon"
        max_in_flight = "many"
        lisen = "127.0.0.1:1"
        [providers.cloud]
        driver = "aliyun"
        endpoints = ["http://provider.example"]
        access_key_id = { env = "SYNTHETIC_ID_THAT_IS_NOT_SET" }
        access_key_secret = { value = "synthetic" }
        [chain]
        order = ["cloud", "nobody"]
    "#;
    let mistakes = mistakes_of("six.toml", toml);
    let expected = [
        ("chain.order:", "names nobody, which has no section [providers.nobody]"),
        ("providers.cloud.access_key_id:", "the environment variable SYNTHETIC_ID_THAT_IS_NOT_SET is not set"),
        ("providers.cloud.endpoints[0]:", "write \"https://"),
        ("server.lisen:", "expected one of `listen`"),
        ("server.max_in_flight:", "write an integer"),
        ("server.request_timeout:", "write for example \"8s\""),
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (line, (key, remedy)) in mistakes.iter().zip(expected) {
        assert!(line.starts_with(key) && line.contains(remedy), "{line}");
    }
}

#[test]
fn a_purpose_that_no_client_has_and_a_name_that_is_no_label_are_mistakes() {
    let toml = r#"
        [clients."with space"]
        keys = [{ id = "k", sha256 = "b0962662e937d44c699c8305d90cbf190b3150c59b13863d1380b5cc3c711bb7" }]
        purposes = ["withdrawal"]
        [purposes.withdrawl]
        on_unknown = "stop"
        [chain]
        order = ["nobody"]
    "#;
    let mistakes = mistakes_of("purposes.toml", toml);
    let about = |key: &str| mistakes.iter().any(|line| line.starts_with(key));
    assert!(
        about("clients.with space: is not a valid name") && about("purposes.withdrawl: is not a purpose of any client"),
        "{mistakes:#?}"
    );
}

/// Issue 13, line 22: `--env-file` keeps quotes, `check` said good, and every call was refused.
#[test]
fn a_key_in_quotes_is_refused_by_check_with_its_remedy() {
    let toml = "[providers.p]\ndriver = \"aliyun\"\nendpoints = [\"https://provider.example\"]\n\
                access_key_id = { env = \"P_ID\" }\naccess_key_secret = { env = \"P_SECRET\" }\n\
                [chain]\norder = [\"p\"]\n";
    let file = TempFile::new("quotes.toml", toml);
    let check = |variables: &[(&str, String)]| {
        let mut command = idgate(&["check", "--config", file.path()]);
        let ran = run(command.envs(variables.iter().map(|(name, value)| (*name, value.as_str()))), "");
        assert!(!ran.err.contains(SECRET), "{}", ran.err);
        (ran.code, ran.err)
    };
    let plain = ("P_ID", "LTAIsynthetic".to_owned());
    assert_eq!(check(&[plain.clone(), ("P_SECRET", SECRET.to_owned())]).0, Some(0));
    for quoted in [format!("\"{SECRET}\""), format!("'{SECRET}'"), format!("“{SECRET}”")] {
        let (code, told) = check(&[plain.clone(), ("P_SECRET", quoted)]);
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains("providers.p.access_key_secret: begins and ends with quotes"), "{told}");
        assert!(told.contains("remove them (an --env-file keeps quotes as they are)"), "{told}");
    }
    // A key that a variable overrides.
    let given = [plain, ("P_SECRET", SECRET.to_owned()), ("IDGATE__LOG__LEVEL", "\"info\"".to_owned())];
    let (code, told) = check(&given);
    assert!(code == Some(78) && told.contains("IDGATE__LOG__LEVEL: begins and ends with quotes"), "{told}");
}

/// The variables that the vendors' clients read.
#[test]
fn a_quoted_variable_of_the_default_chain_is_refused() {
    let toml = "[providers.p]\ndriver = \"aliyun\"\nendpoints = [\"https://provider.example\"]\n\
                credentials = { kind = \"default_chain\" }\n[chain]\norder = [\"p\"]\n";
    let of = |id: &str| {
        let sources = idgate::app::config::Sources::text(toml).with_variable("ALIBABA_CLOUD_ACCESS_KEY_ID", id);
        sources.with_variable("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET).load().map(drop)
    };
    assert_eq!(of("LTAIsynthetic"), Ok(()));
    let told = of("\"LTAIsynthetic\"").unwrap_err().to_string();
    assert!(told.contains("ALIBABA_CLOUD_ACCESS_KEY_ID: begins and ends with quotes"), "{told}");
}

#[test]
fn nothing_is_bound_when_the_configuration_is_wrong() {
    // The test holds the port, so an attempt to bind it would fail with another message and exit code.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap();
    let file = TempFile::new("bound.toml", &format!("[server]\nlisten = \"{listen}\"\n[chain]\norder = [\"nobody\"]"));
    for command in ["serve", "sandbox"] {
        let mut toml = vec![command, "--config", file.path()];
        if command == "sandbox" {
            toml = vec![command, "--config", "/no/such/file.toml"];
        }
        let ran = run(&mut idgate(&toml), "");
        assert_eq!((ran.code, &*ran.out), (Some(78), ""), "{command}: {}", ran.err);
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    let provider = |lines: &str| {
        format!(
            "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n{lines}\n[chain]\norder = [\"p\"]\n"
        )
    };
    let cases = [
        ("plain", provider(&format!("app_code = \"{SECRET}\"")), "providers.p.app_code", "must not be written here"),
        (
            "env",
            provider(&format!("app_code = {{ env = \"{SECRET}\" }}")),
            "providers.p.app_code",
            "environment variable",
        ),
        ("member", provider(&format!("app_code = {{ valeu = \"{SECRET}\" }}")), "providers.p.app_code", "{ env"),
        (
            "number",
            provider(&format!("app_code = {{ value = [\"{SECRET}\"] }}")),
            "providers.p.app_code",
            "with a string",
        ),
        (
            "typo",
            provider(&format!("app_cod = \"{SECRET}\"\napp_code = {{ value = \"x\" }}")),
            "providers.p",
            "app_cod",
        ),
        (
            "method",
            provider(&format!(
                "signature_method = \"{SECRET}\"\napp_key = {{ value = \"k\" }}\napp_secret = {{ value = \"s\" }}"
            )),
            "providers.p.signature_method",
            "HmacSHA256",
        ),
        (
            "production",
            format!("profile = \"production\"\n{}", provider(&format!("app_code = {{ value = \"{SECRET}\" }}"))),
            "providers.p.app_code",
            "refused in production",
        ),
        (
            "profile",
            format!("profile = \"{SECRET}\"\n{}", provider("app_code = { value = \"x\" }")),
            "profile",
            "\"development\" or \"production\"",
        ),
        (
            "word",
            provider("app_code = { value = \"x\" }") + &format!("on_unknown = \"{SECRET}\""),
            "chain.on_unknown",
            "\"ask_next\" or \"stop\"",
        ),
        (
            "duration",
            provider("app_code = { value = \"x\" }") + &format!("budget = \"{SECRET}\""),
            "chain.budget",
            "8s",
        ),
        (
            "address",
            provider("app_code = { value = \"x\" }") + &format!("[server]\nlisten = \"{SECRET}\""),
            "server.listen",
            "127.0.0.1:8080",
        ),
        (
            "type",
            provider("app_code = { value = \"x\" }") + &format!("[server]\nmax_in_flight = \"{SECRET}\""),
            "server.max_in_flight",
            "integer",
        ),
        (
            "digest",
            provider("app_code = { value = \"x\" }") + &format!("[cache]\ndigest_key = {{ value = \"{SECRET}\" }}"),
            "cache.digest_key",
            "openssl rand",
        ),
        (
            "hash",
            provider("app_code = { value = \"x\" }")
                + &format!("[clients.c]\nkeys = [{{ id = \"a\", sha256 = \"{SECRET}\" }}]"),
            "clients.c.keys[0].sha256",
            "idgate key new",
        ),
        (
            "expiry",
            provider("app_code = { value = \"x\" }")
                + &format!("[clients.c]\nkeys = [{{ id = \"a\", sha256 = \"\", expires = \"{SECRET}\" }}]"),
            "clients.c",
            "2027-01-01T00:00:00Z",
        ),
        (
            "level",
            provider("app_code = { value = \"x\" }") + &format!("[log]\nlevel = \"{SECRET}=,=\""),
            "log.level",
            "info",
        ),
        (
            "driver",
            format!(
                "[providers.p]\ndriver = \"nobody\"\napp_code = \"{SECRET}\"\nendpoints = [\"https://x.example\"]\n[chain]\norder = [\"p\"]"
            ),
            "providers.p.driver",
            "aliyun",
        ),
        (
            "endpoint",
            format!(
                "[providers.p]\ndriver = \"yunyi\"\napp_code = {{ value = \"x\" }}\nendpoints = [\"https://{SECRET}@x.example\"]\n[chain]\norder = [\"p\"]"
            ),
            "providers.p.endpoints[0]",
            "host only",
        ),
    ];
    for (name, toml, key, says) in cases {
        let mistakes = mistakes_of(&format!("secret-{name}.toml"), &toml);
        assert!(mistakes.iter().any(|line| line.starts_with(key) && line.contains(says)), "{name}: {mistakes:#?}");
    }
}

#[test]
fn every_mistake_on_the_way_out_is_told_and_what_would_protect_nothing_is_one() {
    let empty = TempFile::new("empty.pem", "no certificate here");
    let torn = TempFile::new("torn.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let provider = |name: &str, endpoint: &str, lines: &str| {
        format!(
            "[providers.{name}]\ndriver = \"yunyi\"\nendpoints = [{endpoint:?}]\napp_code = {{ value = \"x\" }}\n{lines}\n"
        )
    };
    let far = "https://provider.example";
    let toml = [
        provider("a", far, "roots = \"ca_file_only\"\npinned_sha256 = []\nproxy = \"https://proxy.example:3128\""),
        provider(
            "b",
            far,
            "ca_file = \"/no/such/ca.pem\"\npinned_sha256 = [\"abc\"]\nproxy = \"http://proxy.example\"",
        ),
        provider("c", far, &format!("ca_file = {:?}\nproxy = \"http://{SECRET}@proxy.example:1\"", empty.path())),
        provider("d", "https://192.0.2.1", &format!("ca_file = {:?}\nip = \"v6\"", torn.path())),
        provider("e", far, &format!("proxy_login = {{ value = \"{SECRET}\" }}")),
        provider("f", far, &format!("proxy = \"http://proxy.example:1\"\nproxy_login = {{ value = \"{SECRET}\" }}")),
        provider("g", "http://127.0.0.1:1", &format!("pinned_sha256 = [\"{}\"]", "ab".repeat(32))),
        provider("h", far, "ip = \"v5\""),
        "[dns]\nstale = \"1s\"\n[chain]\norder = [\"a\"]\n".to_owned(),
    ];
    let mistakes = mistakes_of("outbound.toml", &toml.concat());
    let expected = [
        ("dns.stale:", "10m"),
        ("providers.a.pinned_sha256:", "is empty"),
        ("providers.a.proxy:", "http://host:port"),
        ("providers.a.roots:", "add ca_file"),
        ("providers.b.ca_file:", "cannot be read"),
        ("providers.b.pinned_sha256[0]:", "64 hexadecimal digits"),
        ("providers.b.proxy:", "host and port only"),
        ("providers.c.ca_file:", "holds no certificate"),
        ("providers.c.proxy:", "into proxy_login"),
        ("providers.d.ca_file:", "number 1 of 1"),
        ("providers.d.endpoints[0]:", "remove `ip`"),
        ("providers.e.proxy_login:", "add proxy"),
        ("providers.f.proxy_login:", "user:password"),
        ("providers.g.pinned_sha256:", "plain http"),
        ("providers.h.ip:", "none of the words"),
    ];
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (line, (key, remedy)) in mistakes.iter().zip(expected) {
        assert!(line.starts_with(key) && line.contains(remedy), "{line}");
    }
}

#[test]
fn broken_toml_is_told_by_its_place_and_not_by_its_text() {
    let mistakes = mistakes_of("broken.toml", &format!("[providers.p]\napp_code = \"{SECRET}\ndriver = 1"));
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].contains("is not valid TOML at line 2, column"), "{mistakes:?}");
    let missing = run(&mut idgate(&["check", "--config", "/no/such/file.toml"]), "");
    assert_eq!(missing.code, Some(78));
    assert!(missing.err.contains("--config: the file /no/such/file.toml cannot be read"), "{}", missing.err);
}

#[test]
fn a_good_configuration_comes_from_file_and_environment_and_says_whom_it_asks() {
    let toml = "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\napp_code = { env = \"SYNTHETIC_CODE\" }\n[chain]\norder = [\"p\"]";
    let file = TempFile::new("good.toml", toml);
    let environment =
        [("IDGATE_CONFIG", file.path()), ("SYNTHETIC_CODE", SECRET), ("IDGATE__SERVER__MAX_IN_FLIGHT", "7")];
    let ran = run(idgate(&["check"]).envs(environment), "");
    assert_eq!(
        (ran.code, &*ran.out),
        (
            Some(0),
            "the configuration is valid; providers are asked in this order: p\n\
             these environment variables override the file: IDGATE__SERVER__MAX_IN_FLIGHT\n"
        ),
        "{}",
        ran.err
    );
    let ran = run(idgate(&["check"]).envs(environment).env("IDGATE__SERVER__MAX_IN_FLIHGT", "7"), "");
    assert_eq!(ran.code, Some(78));
    assert!(ran.err.contains("server.max_in_fliht") || ran.err.contains("server.max_in_flihgt"), "{}", ran.err);
}

#[test]
fn production_refuses_a_secret_that_every_user_of_the_machine_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let secret = TempFile::new("readable-secret", SECRET);
    let digest_key = TempFile::new("readable-digest-key", &"k".repeat(32));
    let ledger = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("readable-ledger.db");
    std::fs::set_permissions(digest_key.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let toml = |profile: &str| {
        format!(
            "profile = \"{profile}\"\n[clients.c]\nkeys = [{{ id = \"a\", sha256 = \"{}\" }}]\n[providers.p]\ndriver = \"yunyi\"\n\
             endpoints = [\"https://provider.example\"]\napp_code = {{ file = {:?} }}\n[chain]\norder = [\"p\"]\n\
             [ledger]\nfile = {ledger:?}\n[cache]\ndigest_key = {{ file = {:?} }}\n",
            "0".repeat(64),
            secret.path(),
            digest_key.path()
        )
    };
    let told = |mode: u32, profile: &str| {
        std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let file = TempFile::new(&format!("readable-{profile}.toml"), &toml(profile));
        let ran = run(&mut idgate(&["check", "--config", file.path()]), "");
        assert!(!ran.err.contains(SECRET), "{}", ran.err);
        (ran.code, ran.err)
    };
    assert_eq!(told(0o640, "production").0, Some(0));
    assert_eq!(told(0o644, "development").0, Some(0));
    for mode in [0o644, 0o604, 0o602, 0o666] {
        let (code, err) = told(mode, "production");
        assert_eq!(code, Some(78), "{mode:o}");
        assert!(err.contains("providers.p.app_code: the file") && err.contains(&format!("mode {mode:o}")), "{err}");
        assert!(err.contains("chmod o-rwx") && err.contains("defaultMode: 0440"), "{err}");
    }
}
