//! The commands: their output and exit codes.

use std::net::TcpListener;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{SandboxProcess, TempFile, idgate, run};
use crate::support::client;

#[test]
fn key_new_prints_a_key_once_and_a_section_that_holds_only_its_hash() {
    let ran = run(&mut idgate(&["key", "new", "payout"]), "");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let key = ran.out.lines().map(str::trim).find(|line| line.starts_with("idg_")).expect("a key");
    assert_eq!(key.len(), "idg_".len() + 43);
    let hash: String = hex::encode(Sha256::digest(key));
    let (_, section) = ran.out.split_once("[clients.payout]").expect("a section");
    assert!(section.contains(&hash) && !section.contains(key), "{section}");
    assert_eq!(ran.out.matches(key).count(), 1);
    assert_ne!(run(&mut idgate(&["key", "new", "payout"]), "").out, ran.out);
    assert_eq!(run(&mut idgate(&["key", "new", "No Good"]), "").code, Some(1));
}

#[test]
fn the_section_of_a_new_key_is_one_that_a_configuration_takes() {
    for more in [&[][..], &["--expires", "2100-01-01"], &["--expires", "2100-01-01T00:00:00+08:00"]] {
        let ran = run(&mut idgate(&[&["key", "new", "payout"], more].concat()), "");
        let (_, section) = ran.out.split_once("[clients.payout]").unwrap();
        assert_eq!(section.contains("expires = \"2099-12-31T16:00:00Z\""), !more.is_empty(), "{section}");
        let toml = format!(
            "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
             app_code = {{ value = \"x\" }}\n[chain]\norder = [\"p\"]\n[clients.payout]{section}"
        );
        let file = TempFile::new("key.toml", &toml);
        let checked = run(&mut idgate(&["check", "--config", file.path()]), "");
        assert_eq!(checked.code, Some(0), "{}", checked.err);
    }
    assert_eq!(run(&mut idgate(&["key", "new", "payout", "--expires", "some-day"]), "").code, Some(64));
}

#[test]
fn an_operators_key_has_a_section_of_its_own() {
    let ran = run(&mut idgate(&["key", "new", "--operator", "anna"]), "");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("[operators.anna]\n  keys = [{ id = \"anna-") && !ran.out.contains("clients"),
        "{}",
        ran.out
    );
    for wrong in [&["key", "new"][..], &["key", "new", "payout", "--operator", "anna"]] {
        assert_eq!(run(&mut idgate(wrong), "").code, Some(64));
    }
}

#[test]
fn the_key_of_receipts_goes_into_a_file_of_its_own_and_never_over_another() {
    use std::os::unix::fs::PermissionsExt;
    let folder = crate::ledger::Folder::new();
    let file = folder.path().join("receipts.key");
    let arguments = ["key", "new", "--receipts", file.to_str().unwrap()];
    let ran = run(&mut idgate(&arguments), "");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let (private, public) = (std::fs::read_to_string(&file).unwrap(), file.with_extension("key.pub"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!ran.out.contains(private.lines().nth(1).unwrap()), "{}", ran.out);
    let (_, section) = ran.out.split_once("[receipts]").unwrap();
    let section = section
        .replace("PATH-OF-THE-PREVIOUS-KEY.pub", public.to_str().unwrap())
        .replace("former", "kid = \"a\"\n  former");
    let provider = "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
                    app_code = { value = \"x\" }\n[chain]\norder = [\"p\"]\n";
    let toml = TempFile::new("receipts.toml", &format!("{provider}{}[receipts]{section}", folder.toml()));
    let checked = run(&mut idgate(&["check", "--config", toml.path()]), "");
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let again = run(&mut idgate(&arguments), "");
    assert!(again.code == Some(1) && again.err.contains("cannot be written"), "{}", again.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), private);
    assert_eq!(run(&mut idgate(&[&arguments[..], &["payout"]].concat()), "").code, Some(64));
}

#[test]
fn openapi_prints_the_document() {
    let ran = run(&mut idgate(&["openapi"]), "");
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.starts_with("openapi: 3.") && ran.out.contains("/v1/verify"), "{}", ran.out);
}

/// Issue 13, line 23: `idgate openapi | head -1` panicked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_gone_ends_a_command_quietly() {
    let folder = crate::ledger::Folder::new();
    let gateway = folder.gateway().start().await;
    gateway.ask(&crate::support::anybody()).await;
    assert!(gateway.stop().await);
    let ledger = folder.file();
    let file = TempFile::new(
        "closed.toml",
        "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
         app_code = { value = \"x\" }\n[chain]\norder = [\"p\"]\n",
    );
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    for arguments in [
        &["openapi"][..],
        &["--help"],
        &["--version"],
        &["key", "new", "payout"],
        &["key", "new", "payout", "--kind", "access-key"],
        &["check", "--config", file.path()],
        &["ledger", "verify", "--file", &ledger],
        &["ledger", "export", "--file", &ledger],
        &["ledger", "export", "--format", "csv", "--file", &ledger],
    ] {
        let done = idgate(arguments).stdout(closed()).output().unwrap();
        assert_eq!((done.status.code(), &*String::from_utf8_lossy(&done.stderr)), (Some(0), ""), "{arguments:?}");
    }
    // Nobody reads the errors either: the exit code is what it always is.
    let done = idgate(&["check", "--config", "/nonexistent.toml"]).stderr(closed()).output().unwrap();
    assert_eq!(done.status.code(), run(&mut idgate(&["check", "--config", "/nonexistent.toml"]), "").code);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = idgate(&["openapi"]).stdout(full).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.code() == Some(1) && told.contains("standard output cannot be written"), "{told}");
}

#[test]
fn a_healthcheck_is_zero_for_a_live_gateway_and_not_zero_for_none() {
    let sandbox = SandboxProcess::start(&[], &[]);
    let health = |admin: &str| run(idgate(&["healthcheck"]).env("IDGATE__SERVER__ADMIN_LISTEN", admin), "");
    let alive = health(&sandbox.admin.to_string());
    assert_eq!((alive.code, &*alive.out), (Some(0), "alive\n"), "{}", alive.err);
    let unspecified = health(&format!("0.0.0.0:{}", sandbox.admin.port()));
    assert_eq!(unspecified.code, Some(0), "a container listens everywhere: {}", unspecified.err);
    // The public listener is not an admin listener: it answers, but not with 200.
    assert_eq!(health(&sandbox.public.to_string()).code, Some(1));
    let nobody = {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        held.local_addr().unwrap().to_string()
    };
    let dead = health(&nobody);
    assert_eq!(dead.code, Some(1));
    assert!(dead.err.contains("no answer from http://"), "{}", dead.err);
}

/// A configuration with which another process calls the simulator of this sandbox; `verify` needs one.
fn asking_a_simulator() -> (tokio::runtime::Runtime, idgate::server::sandbox::Sandbox, TempFile) {
    use idgate::app::{World, simulated};
    use idgate::domain::verdict::Verdict;
    use idgate::server::http::access_log::AccessLog;
    use idgate::server::sandbox::{People, Sandbox};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = World::real(AccessLog::nowhere());
    let sandbox = {
        let _inside = runtime.enter();
        let stop = tokio_util::sync::CancellationToken::new();
        let people = People::invented();
        Sandbox::start(simulated::providers(1).unwrap(), people, Verdict::NoRecord, world.clock, world.ids, stop)
            .unwrap()
    };
    let toml = simulated::configuration(&sandbox.handle());
    (runtime, sandbox, TempFile::new("verify.toml", &toml))
}

#[test]
fn verify_asks_once_and_reads_the_person_from_arguments_or_from_standard_input() {
    let (_runtime, sandbox, file) = asking_a_simulator();
    let config = ["--config", file.path()];
    let asked = run(&mut idgate(&[&["verify", "张三", "11010519491231002X"][..], &config].concat()), "");
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    let reply: Value = serde_json::from_str(&asked.out).unwrap();
    assert_eq!((&reply["verdict"], &reply["person"]["sex"]), (&"match".into(), &"female".into()));
    let piped = run(&mut idgate(&[&["verify", "-"][..], &config].concat()), "李四\n11010519491231002X\n");
    let reply: Value = serde_json::from_str(&piped.out).unwrap();
    assert_eq!((piped.code, &reply["verdict"]), (Some(0), &"mismatch".into()));
    assert_eq!(sandbox.handle().calls("aliyun"), 2);
}

#[test]
fn verify_fails_with_the_problem_and_tells_no_person() {
    let (_runtime, sandbox, file) = asking_a_simulator();
    let config = ["--config", file.path()];
    let wrong = run(&mut idgate(&[&["verify", "龘靐齉", "110101190307250019"][..], &config].concat()), "");
    let problem: Value = serde_json::from_str(&wrong.out).unwrap();
    assert_eq!((wrong.code, &problem["code"]), (Some(1), &"invalid_id_number".into()));
    let short = run(&mut idgate(&[&["verify", "-"][..], &config].concat()), "龘靐齉\n");
    assert_eq!(short.code, Some(1));
    assert!(short.err.contains("no number (second line)"), "{}", short.err);
    for ran in [&wrong, &short] {
        let said = format!("{}{}", ran.out, ran.err);
        assert!(!said.contains("龘靐齉") && !said.contains("1101011903"), "{said}");
    }
    assert_eq!(sandbox.handle().calls("aliyun"), 0);
}

#[test]
fn wrong_usage_ends_with_64_and_repeats_no_person() {
    for arguments in [
        &["frobnicate"][..],
        &["verify"],
        &["verify", "--nmae", "x"],
        &["verify", "TESTOV", "IVAN", "XYZ110119990099"],
        &["11010519491231002X"],
        &["龘靐齉"],
        &["sandbox", "--unlisted", "maybe"],
        &["sandbox", "--listen", "here"],
        &["key"],
        &[],
    ] {
        let ran = run(&mut idgate(arguments), "");
        assert_eq!((ran.code, &*ran.out), (Some(64), ""), "{arguments:?}: {}", ran.err);
        assert!(
            ran.err.contains("Usage: idgate") || ran.err.contains("possible values") || ran.err.contains("--help"),
            "{}",
            ran.err
        );
        for person in ["XYZ110119990099", "IVAN", "11010519491231002X", "龘靐齉"] {
            assert!(!ran.err.contains(person), "{}", ran.err);
        }
    }
    for help in ["--help", "--version"] {
        let ran = run(&mut idgate(&[help]), "");
        assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{}", ran.out);
    }
}

#[test]
fn an_occupied_address_is_named_with_its_key() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    for (option, key) in [("--listen", "server.listen"), ("--admin-listen", "server.admin_listen")] {
        let free = if option == "--listen" { "--admin-listen" } else { "--listen" };
        let ran = run(&mut idgate(&["sandbox", option, &address, free, "127.0.0.1:0"]), "");
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(ran.err.contains(&format!("cannot listen on {key} = \"{address}\"")), "{}", ran.err);
        assert!(ran.err.contains(&format!("choose another address with {option} ")), "{}", ran.err);
        assert_eq!(ran.err.matches("in use").count(), 1, "said once: {}", ran.err);
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let sandbox = SandboxProcess::start(&[], &names.map(|name| (name, &*url)));
    let asked = client()
        .post(format!("http://{}/v1/verify", sandbox.public))
        .header("content-type", "application/json")
        .body(r#"{"name":"张三","id_number":"11010519491231002X"}"#);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    assert!(proxy.accept().is_err(), "somebody came to the proxy");
}
