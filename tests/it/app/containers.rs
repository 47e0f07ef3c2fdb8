//! What a container needs of the program: variables that override a mounted file are named, and paid calls have time to
//! end.

use std::time::Duration;

use idgate::app::config::Sources;

use super::{TempFile, idgate, run};

const PROVIDER: &str = "[providers.p]\ndriver = \"yunyi\"\nendpoints = [\"https://provider.example\"]\n\
                        app_code = { value = \"x\" }\n[chain]\norder = [\"p\"]\n";

#[test]
fn a_variable_that_overrides_the_mounted_file_is_named_without_its_value() {
    let file = TempFile::new("mounted.toml", &format!("[server]\nlisten = \"127.0.0.1:8081\"\n{PROVIDER}"));
    let told = "these environment variables override the file: IDGATE__SERVER__LISTEN\n";
    let plain = run(&mut idgate(&["check", "--config", file.path()]), "");
    assert!(plain.code == Some(0) && !plain.out.contains("override"), "{}", plain.out);
    let variable = ("IDGATE__SERVER__LISTEN", "127.0.0.1:8099");
    let overridden = run(idgate(&["check", "--config", file.path()]).env(variable.0, variable.1), "");
    assert!(overridden.code == Some(0) && overridden.out.contains(told), "{}", overridden.out);
    assert!(!overridden.out.contains("8099"), "{}", overridden.out);
}

#[test]
fn the_log_of_a_start_names_the_variables_too() {
    let file = TempFile::new("started.toml", &format!("[server]\nlisten = \"127.0.0.1:0\"\n{PROVIDER}"));
    // The bound port makes the start end by itself, after the log has begun.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = run(idgate(&["serve", "--config", file.path()]).env("IDGATE__SERVER__ADMIN_LISTEN", &address), "");
    let line = ran.err.lines().find(|line| line.contains("environment variables override"));
    assert!(line.is_some_and(|line| line.contains("IDGATE__SERVER__ADMIN_LISTEN")), "{}", ran.err);
    assert!(!line.unwrap().contains(&address), "{}", ran.err);
}

#[test]
fn plain_http_in_production_needs_a_trusted_proxy_and_the_message_names_it() {
    let file =
        |behind: &str| format!("profile = \"production\"\n[server]\nlisten = \"0.0.0.0:8080\"\n{behind}{PROVIDER}");
    for (behind, is_refused) in [("", true), ("behind = \"nothing\"\n", true), ("behind = \"trusted-proxy\"\n", false)]
    {
        let file = TempFile::new("behind.toml", &file(behind));
        let ran = run(&mut idgate(&["check", "--config", file.path()]), "");
        assert_eq!(ran.err.contains("serves plain HTTP to other machines"), is_refused, "{}", ran.err);
        assert_eq!(ran.err.contains("server.behind = \"trusted-proxy\""), is_refused, "{}", ran.err);
        assert!(ran.err.contains("no client is configured"), "it is no way around the keys: {}", ran.err);
    }
    let file = TempFile::new("behind.toml", &file("behind = \"proxy\"\n"));
    let ran = run(&mut idgate(&["check", "--config", file.path()]), "");
    assert!(ran.code == Some(78) && ran.err.contains("trusted-proxy"), "the words are named: {}", ran.err);
}

/// The image's ENV would override a mounted file unseen.
#[test]
fn the_image_sets_no_setting_and_every_document_gives_the_drain_its_time() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(!read("Dockerfile").contains("IDGATE__"));
    let settings = Sources::text(PROVIDER).load().unwrap();
    let calls = settings.verify.providers.iter().map(|provider| provider.call_limit).max().unwrap();
    let needed = settings.server.drain_notice + settings.server.drain_timeout + calls;
    for (document, key) in [
        ("docker-compose.yml", "stop_grace_period: "),
        ("docs/operations.md", "terminationGracePeriodSeconds: "),
        ("docs/operations.md", "together: "),
        ("config/default.toml", "TimeoutStopSec): "),
    ] {
        let text = read(document);
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("{document} has no {key}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let given = Duration::from_secs(digits.parse().unwrap());
        assert!(given > needed, "{document} gives {given:?}, and {needed:?} are needed");
    }
}
