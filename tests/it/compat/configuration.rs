//! `[compat]` and its caller keys: off by default, switched by a reload, every mistake reported, created by the
//! command.

use std::process::Command;

use idgate::app::config::{Mistakes, Sources};
use idgate::providers::schemes;

use super::{SECRET, Speaker, client, hash, one_of_each, right, section, send, speakers};
use crate::support::TestGateway;

#[tokio::test]
async fn when_it_is_off_nothing_is_there() {
    for toml in [client("legacy", "", ""), section("").replace("enabled = true", "enabled = false")] {
        let gateway = TestGateway::new().over(toml).start().await;
        for speaker in speakers() {
            let answer = speaker.ask(&gateway, &right()).await;
            assert_eq!(answer.status(), 404, "{}", speaker.label());
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.body()["code"], "not_found");
        }
    }
}

#[tokio::test]
async fn it_is_not_on_the_admin_listener() {
    let gateway = TestGateway::new().over(section("")).start().await;
    for speaker in one_of_each() {
        let mut request = speaker.request(&gateway, &right());
        let there = request.uri().to_string().replace(&gateway.public.to_string(), &gateway.admin.to_string());
        *request.uri_mut() = there.parse().unwrap();
        assert_eq!(send(&gateway, request).await.status(), 404);
    }
}

#[tokio::test]
async fn a_reload_switches_it_and_changes_its_keys_and_forgets_no_nonce() {
    let file =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("compat-{}.toml", std::process::id()));
    let gateway = TestGateway::new().over(section("")).over("[reload]\npoll = \"0s\"").in_file(&file).start().await;
    let speaker = Speaker::new("aliyun", 0);
    let recorded = speaker.request(&gateway, &right());
    assert_eq!(send(&gateway, recorded.clone()).await.word(), "BizCode 1");
    gateway.rewrite(|toml| toml.replace("enabled = true", "enabled = false"));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(send(&gateway, recorded.clone()).await.status(), 404);
    gateway.rewrite(|toml| toml.replace("enabled = false", "enabled = true"));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(send(&gateway, recorded).await.word(), "SignatureNonceUsed");
    gateway.rewrite(|toml| toml.replace(SECRET, "idg_the-secret-that-follows-it"));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(speaker.ask(&gateway, &right()).await.word(), "SignatureDoesNotMatch");
    let next = Speaker { secret: "idg_the-secret-that-follows-it".to_owned(), ..speaker };
    assert_eq!(next.ask(&gateway, &right()).await.word(), "BizCode 1");
    let _ = std::fs::remove_file(file);
}

#[tokio::test]
async fn a_secret_in_a_file_is_read_again_when_it_is_replaced() {
    let file =
        std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("compat-secret-{}", std::process::id()));
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let toml = section("").replace(&format!("{{ value = \"{SECRET}\" }}"), &format!("{{ file = {file:?} }}"));
    let gateway = TestGateway::new().over(toml).over("[reload]\npoll = \"20ms\"").start().await;
    let speaker = Speaker::new("muzhiyun", 1);
    assert_eq!(speaker.ask(&gateway, &right()).await.status(), 200);
    std::fs::write(&file, "idg_the-secret-that-follows-it\n").unwrap();
    let next = Speaker { secret: "idg_the-secret-that-follows-it".to_owned(), ..speaker };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while next.ask(&gateway, &right()).await.status() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the file was never read again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn every_mistake_of_a_key_is_told_with_its_remedy_and_never_with_its_secret() {
    let on = "[compat]\nenabled = true\n";
    let twice = format!("{}{}", client("one", "", ""), client("two", "", ""));
    for (toml, key, says) in [
        (on.to_owned(), "compat.enabled", "idgate key new"),
        ("[compat]\nnonces_per_key = 0".to_owned(), "compat.nonces_per_key", "500000"),
        ("[compat]\nno_such_key = 1".to_owned(), "compat.no_such_key", "unknown key"),
        (twice.clone(), "clients.two.access_keys[0]", "clients.one.access_keys[0]"),
        (twice.clone(), "clients.two.app_keys[0]", "clients.one.app_keys[0]"),
        (twice, "clients.two.app_codes[0]", "clients.one.app_codes[0]"),
        ("[clients.a]\naccess_keys = [{ id = \"IDG1\" }]".to_owned(), "clients.a.access_keys[0].secret", "is missing"),
        (
            "[clients.a]\naccess_keys = [{ id = \"IDG1\", secret = \"idg_written-down-in-clear-text\" }]".to_owned(),
            "clients.a.access_keys[0].secret",
            "must not be written here",
        ),
        (
            "[clients.a]\naccess_keys = [{ id = \"IDG1\", secret = { value = \"short\" } }]".to_owned(),
            "clients.a.access_keys[0].secret",
            "20 characters",
        ),
        (
            "[clients.a]\napp_keys = [{ key = \"a,b\", secret = { env = \"NO_SUCH_VARIABLE\" } }]".to_owned(),
            "clients.a.app_keys[0].key",
            "comma",
        ),
        (
            "[clients.a]\napp_keys = [{ key = \"k\", secret = { env = \"NO_SUCH_VARIABLE\" } }]".to_owned(),
            "clients.a.app_keys[0].secret",
            "NO_SUCH_VARIABLE",
        ),
        (
            format!("[clients.a]\napp_codes = [{{ id = \"a\", sha256 = \"{}\" }}]", hash("")),
            "clients.a.app_codes[0].sha256",
            "empty text",
        ),
        (
            "[clients.a]\napp_codes = [{ id = \"a\", sha256 = \"abc\" }]".to_owned(),
            "clients.a.app_codes[0].sha256",
            "--kind app-code",
        ),
        (
            format!("[clients.a]\napp_codes = [{{ id = \"a\", sha256 = \"{}\", purpose = \"b\" }}]", hash("x")),
            "clients.a.app_codes[0].purpose",
            "purposes",
        ),
        (client("a", "", "purposes = [\"one\", \"other\"]"), "clients.a.access_keys[0].purpose", "several purposes"),
    ] {
        let Mistakes(mistakes) = Sources::text(&toml).load().unwrap_err();
        let told = mistakes.iter().find(|mistake| mistake.key == key);
        let told = told.unwrap_or_else(|| panic!("{key} is not told: {mistakes:#?}\n{toml}"));
        assert!(told.to_string().contains(says), "{toml}: {told}");
        assert!(!told.to_string().contains("idg_") && !told.to_string().contains(SECRET), "{told}");
        assert_eq!(mistakes.iter().filter(|mistake| mistake.key == key).count(), 1, "{mistakes:#?}");
    }
}

/// What `idgate key new` prints, and the TOML in it.
fn made(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_idgate")).args(["key", "new"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let toml: String = text
        .lines()
        .filter(|line| line.starts_with("  [") || line.contains(" = [{"))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    (text, toml)
}

fn word_after<'a>(text: &'a str, label: &str) -> &'a str {
    let rest = text.split_once(label).unwrap_or_else(|| panic!("no {label}: {text}")).1;
    rest.split_whitespace().next().unwrap()
}

#[tokio::test]
async fn the_command_makes_keys_that_open() {
    for scheme in schemes() {
        let speaker = speakers().into_iter().find(|speaker| speaker.scheme == scheme).unwrap();
        let (kind, labels) = (scheme.name, scheme.issued);
        let public = if scheme.is_bearer { String::new() } else { format!("{}:", labels.id_label) };
        let secret =
            if scheme.is_bearer { "give it to the caller:".to_owned() } else { format!("{}:", labels.secret_label) };
        let (text, toml) = made(&["legacy", "--kind", kind, "--expires", "2099-01-01"]);
        let secret = word_after(&text, &secret).to_owned();
        assert!(secret.starts_with("idg_") && secret.len() > 40, "{text}");
        assert!(!toml.contains(&secret), "the lines for the configuration hold no secret: {toml}");
        assert!(toml.contains("expires = \"2098-12-31T16:00:00Z\""), "{toml}");
        let id = if public.is_empty() { String::new() } else { word_after(&text, &public).to_owned() };
        let file =
            std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("made-{kind}-{}", std::process::id()));
        std::fs::write(&file, &secret).unwrap();
        let named = toml.split("file = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("nowhere");
        let toml = format!("[compat]\nenabled = true\n{}", toml.replace(named, file.to_str().unwrap()));
        let gateway = TestGateway::new().over(toml).start().await;
        let holder = Speaker { id, secret, ..speaker };
        assert!(holder.ask(&gateway, &right()).await.is_answered(), "{kind}");
        std::fs::remove_file(file).unwrap();
    }
    assert_ne!(made(&["legacy", "--kind", "access-key"]).1, made(&["legacy", "--kind", "access-key"]).1);
    let refused = Command::new(env!("CARGO_BIN_EXE_idgate"))
        .args(["key", "new", "--operator", "oncall", "--kind", "access-key"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(64));
}
