//! Processes with TLS and operators: the health check, the log, and the welcome text of the sandbox.

use std::net::SocketAddr;

use super::{Ran, SandboxProcess, TempFile, idgate, run};
use crate::support::pki::{Authority, asks};

const KEY: &str = "idg_synthetic-operator";

fn operator() -> String {
    use sha2::{Digest, Sha256};
    let hash: String = hex::encode(Sha256::digest(KEY));
    format!("[operators.oncall]\nkeys = [{{ id = \"o\", sha256 = \"{hash}\" }}]\n")
}

fn sandbox(config: &TempFile) -> SandboxProcess {
    SandboxProcess::start(&["--config", config.path()], &[])
}

fn health(config: &TempFile, admin: SocketAddr) -> Ran {
    let mut command = idgate(&["healthcheck", "--config", config.path()]);
    run(command.env("IDGATE__SERVER__ADMIN_LISTEN", admin.to_string()), "")
}

#[test]
fn a_healthcheck_over_tls_needs_neither_key_nor_trust_and_is_told_when_a_certificate_is_demanded() {
    let authority = Authority::new("ours");
    let section = |how: &str| authority.server().section("admin_tls", &asks(&authority, how));
    let config = TempFile::new("tls-optional.toml", &format!("{}{}", section("optional"), operator()));
    let process = sandbox(&config);
    let alive = health(&config, process.admin);
    assert_eq!((alive.code, &*alive.out), (Some(0), "alive\n"), "{}", alive.err);
    let unspecified = health(&config, SocketAddr::from(([0, 0, 0, 0], process.admin.port())));
    assert_eq!(unspecified.code, Some(0), "a container listens everywhere: {}", unspecified.err);
    // The certificate was replaced on disk while the process still serves the old one; the health check must still
    // pass.
    let renewed = TempFile::new("tls-renewed.toml", &format!("{}{}", section("optional"), operator()));
    assert_eq!(health(&renewed, process.admin).code, Some(0));
    // Plain text to a TLS listener, and TLS to a plain one.
    let plain = TempFile::new("tls-none.toml", "");
    assert_eq!(health(&plain, process.admin).code, Some(1));
    assert_eq!(health(&config, process.public).code, Some(1));

    let config = TempFile::new("tls-required.toml", &section("required"));
    let process = sandbox(&config);
    let refused = health(&config, process.admin);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("no answer from https://") && refused.err.contains("optional"), "{}", refused.err);
}

#[test]
fn an_expired_certificate_is_shouted_and_shown() {
    let authority = Authority::new("ours");
    let config = TempFile::new("expired.toml", &authority.server_until(2020).section("tls", ""));
    let process = sandbox(&config);
    process.terminate();
    let (status, out, err) = process.ended();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("ERROR") && err.contains("THE CERTIFICATE HAS EXPIRED"), "{err}");
    assert!(err.contains("server.tls") && err.contains("2020-01-01T00:00:00Z"), "{err}");
    assert!(out.contains("curl -s https://") && out.contains("curl -s -X PUT http://"), "{out}");
}

#[tokio::test]
async fn what_an_operator_does_is_logged_with_its_name() {
    let config = TempFile::new("operator.toml", &operator());
    let process = sandbox(&config);
    let http = crate::support::client();
    for path in ["/v1/providers/aliyun/isolate", "/v1/providers/aliyun/restore", "/v1/reload"] {
        let asked = http.post(format!("http://{}{path}", process.admin)).bearer_auth(KEY).send().await.unwrap();
        assert!(asked.status().is_success(), "{path}: {}", asked.status());
    }
    process.terminate();
    let (_, out, err) = process.ended();
    for done in ["isolated by an operator", "restored by an operator", "asked to reload"] {
        let line = err.lines().find(|line| line.contains(done)).unwrap_or_else(|| panic!("{done}: {err}"));
        assert!(line.contains("operator=oncall"), "{line}");
    }
    assert!(!err.contains(KEY));
    assert!(out.contains("/v1/status -H 'Authorization: Bearer YOUR-KEY'"), "{out}");
}

#[tokio::test]
async fn a_log_level_is_set_for_a_while_and_ends_by_itself() {
    let config = TempFile::new("log-level.toml", &operator());
    let process = SandboxProcess::start(&["--config", config.path()], &[("IDGATE__LOG__LEVEL", "error")]);
    let http = crate::support::client();
    let post = async |path: &str, body: &'static str| {
        let request = http.post(format!("http://{}{path}", process.admin)).bearer_auth(KEY);
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    };
    assert_eq!(post("/v1/reload", r#"{"reason": "before"}"#).await.status(), 200);
    let set = post("/v1/log-level", r#"{"level": "info", "for": "1s", "reason": "ticket 4711"}"#).await;
    assert_eq!(set.status(), 200);
    let reply: serde_json::Value = serde_json::from_str(&set.text().await.unwrap()).unwrap();
    assert!(reply["level"] == "info" && reply["until"].as_str().unwrap().ends_with('Z'), "{reply}");
    assert_eq!(post("/v1/reload", r#"{"reason": "meanwhile"}"#).await.status(), 200);
    // The next level is set after the first one has ended, for its end is told before.
    let until: jiff::Timestamp = reply["until"].as_str().unwrap().parse().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the clock that the process reads too")]
    while jiff::Timestamp::now() < until + std::time::Duration::from_millis(300) {
        assert_eq!(post("/v1/reload", "").await.status(), 200);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(post("/v1/reload", r#"{"reason": "after"}"#).await.status(), 200);
    process.terminate();
    let (_, _, err) = process.ended();
    assert!(err.contains("meanwhile") && err.contains("the log has another level"), "{err}");
    assert!(
        !err.contains("before\"") && !err.contains("reason=\"before\"") && !err.contains("reason=\"after\""),
        "{err}"
    );
}
