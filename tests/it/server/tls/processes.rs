//! External tools, run as processes: openssl s_client, curl, h2load. `.ci/run` installs them and runs these
//! tests, which `cargo test` alone ignores.

use std::process::{Command, Output, Stdio};

use super::*;

/// Runs a tool against the listener, with `input` on its standard input.
async fn run(tool: &str, arguments: &[&str], input: &'static str) -> Output {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        use std::io::Write;
        let mut child = command.spawn().unwrap();
        // The tool may exit without reading its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(run)).await.expect("the tool ends").unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Connects with `openssl s_client`, optionally with a client certificate. Returns the tool's output.
async fn s_client(server: &Server, authority: &Authority, who: Option<&Issued>, more: &[&str]) -> String {
    let (addr, ca) = (server.addr.to_string(), authority.path().display().to_string());
    let mut arguments = vec!["s_client", "-connect", &addr, "-CAfile", &ca, "-servername", "localhost", "-ign_eof"];
    let files = who.map(|who| [&who.certificate, &who.key].map(|path| path.display().to_string()));
    if let Some([certificate, key]) = &files {
        arguments.extend(["-cert", certificate, "-key", key]);
    }
    arguments.extend(more);
    said(&run("openssl", &arguments, "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await)
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn openssl_is_let_in_with_a_good_certificate_over_tls_1_2_and_1_3() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let client = authority.client("spiffe://test/withdrawal");
    for (option, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&server, &authority, Some(&client), &[option]).await;
        assert!(said.contains(version) && said.contains("hello spiffe://test/withdrawal"), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn openssl_is_told_by_alert_why_it_is_refused() {
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let revoked = authority.client("spiffe://test/old");
    let list = Some(authority.revokes(&[&revoked]));
    let asks = Asks { revoked: list, ..asks(&authority, ClientCertificates::Required) };
    let server = serve(patient(), asks.tls(&authority.server()));
    let (stranger, late) = (other.client("spiffe://test/withdrawal"), authority.expired_client("spiffe://test/w"));
    for (who, alert) in [
        (None, "alert certificate required"),
        (Some(&stranger), "alert unknown ca"),
        (Some(&late), "alert certificate expired"),
        (Some(&revoked), "alert certificate revoked"),
    ] {
        let said = s_client(&server, &authority, who, &["-tls1_3"]).await;
        assert!(said.contains(alert) && !said.contains("hello"), "{alert}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs openssl"]
async fn openssl_is_refused_with_an_old_version() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    for version in ["-tls1", "-tls1_1"] {
        let said = s_client(&server, &authority, None, &[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        // Debian's openssl supports these versions if told to. The alert proves that it sent a handshake.
        assert!(said.contains("alert") && !said.contains("hello"), "{version}: {said}");
    }
    eventually("they are counted", || server.failures_are(Failure::Protocol, 2)).await;
}

#[tokio::test]
#[ignore = "needs curl"]
async fn curl_speaks_both_protocols_with_a_certificate() {
    let authority = Authority::new("clients");
    let server = serve(patient(), asks(&authority, ClientCertificates::Required).tls(&authority.server()));
    let client = authority.client("spiffe://test/withdrawal");
    let (ca, url) = (authority.path().display().to_string(), format!("https://localhost:{}/", server.addr.port()));
    let files = [&client.certificate, &client.key].map(|path| path.display().to_string());
    let to = format!("localhost:{}:127.0.0.1", server.addr.port());
    let base = ["-sS", "--noproxy", "*", "--cacert", &ca, "--resolve", &to, "-w", " over HTTP/%{http_version}", &url];
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let with = [&base[..], &[option, "--cert", &files[0], "--key", &files[1]]].concat();
        let said = said(&run("curl", &with, "").await);
        assert_eq!(said, format!("hello spiffe://test/withdrawal over HTTP/{version}"));
    }
    let refused = run("curl", &base, "").await;
    assert!(!refused.status.success() && said(&refused).contains("certificate required"), "{}", said(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs h2load"]
async fn h2load_loses_nothing() {
    let authority = Authority::new("ours");
    let server = serve(patient(), NOBODY.tls(&authority.server()));
    let url = format!("https://localhost:{}/", server.addr.port());
    let output = run("h2load", &["-n", "5000", "-c", "10", "-m", "100", &url], "").await;
    let said = said(&output);
    assert!(said.contains("Application protocol: h2"), "{said}");
    assert!(said.contains("5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    eventually("all are gone", || server.connections.open() == 0).await;
}

/// Very short connection ages. h2load does not repeat a request on another connection, so any lost request is our
/// fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs h2load"]
async fn h2load_over_http_1_loses_nothing_by_age() {
    let authority = Authority::new("ours");
    let config = Config { max_connection_age: Duration::from_millis(20), ..patient() };
    let server = serve(config, NOBODY.tls(&authority.server()));
    let url = format!("https://localhost:{}/", server.addr.port());
    let said = said(&run("h2load", &["--h1", "-n", "2000", "-c", "10", &url], "").await);
    assert!(said.contains("2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
}
