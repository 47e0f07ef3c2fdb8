//! Client authentication by key, certificate or both, over TLS and HTTP/2.

use bytes::Bytes;
use http::Request;
use tokio::net::TcpStream;

use super::{LogFile, assert_problem, bearer, client, errors};
use crate::support::pki::{Authority, Issued, asks, over_tls};
use crate::support::{Reply, TestGateway, anybody};

const KEY: &str = "idg_synthetic-key";

/// A TLS gateway whose certificates are issued by `authority`.
async fn gateway(authority: &Authority, identity: &str, clients: &str, log: &LogFile) -> TestGateway {
    let tls = authority.server().section("tls", &asks(authority, "optional"));
    let identity = format!("[server]\nclient_identity = {identity:?}\n");
    TestGateway::new()
        .over(format!("{identity}{tls}{clients}"))
        .access_log(log.log.clone())
        .http(authority.http(None))
        .start()
        .await
}

/// Sends one request, optionally with a client certificate and with a key.
async fn ask(gateway: &TestGateway, authority: &Authority, who: Option<&Issued>, key: Option<&str>) -> Reply {
    let mut request = authority
        .http(who)
        .post(format!("https://{}/v1/verify", gateway.public))
        .header("content-type", "application/json")
        .body(anybody().body().to_string());
    if let Some(key) = key {
        request = request.header("authorization", bearer(key));
    }
    Reply::of(request.send().await.expect("the handshake is good")).await
}

fn assert_refused(reply: &Reply, reason: &str) {
    assert_problem(reply, 401, "unauthenticated");
    assert_eq!(errors(reply), [(String::new(), reason.to_owned())], "{reply:#?}");
    assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:#?}");
}

/// A client with one certificate and no key.
fn by_certificate(name: &str, mark: &str) -> String {
    format!("[clients.{name}]\ncertificates = [{{ id = \"{name}-cert\", {mark} }}]\n")
}

#[tokio::test]
async fn a_client_is_known_by_uri_by_dns_name_and_by_fingerprint() {
    let (authority, log) = (Authority::new("clients"), LogFile::new());
    let (by_uri, by_dns) = (authority.client("spiffe://test/one"), authority.client("Two.example"));
    let (by_print, nobody) = (authority.client("spiffe://test/three"), authority.client("spiffe://test/nobody"));
    let clients = by_certificate("one", "uri = \"spiffe://test/one\"")
        + &by_certificate("two", "dns = \"two.example\"")
        + &by_certificate("three", &format!("sha256 = {:?}", by_print.sha256()));
    let gateway = gateway(&authority, "any", &clients, &log).await;
    for (who, name) in [(&by_uri, "one"), (&by_dns, "two"), (&by_print, "three")] {
        assert_eq!(ask(&gateway, &authority, Some(who), None).await.verdict(), "match");
        let lines = log.lines();
        let last = lines.last().unwrap();
        assert_eq!((&last["client"], &last["certificate_id"]), (&name.into(), &format!("{name}-cert").into()));
        assert!(last.get("key_id").is_none());
    }
    assert_refused(&ask(&gateway, &authority, Some(&nobody), None).await, "certificate_unknown");
    assert_problem(&ask(&gateway, &authority, None, None).await, 401, "unauthenticated");
    // A certificate with the same name from another authority already fails in the TLS handshake.
    let forged = Authority::new("others").client("spiffe://test/one");
    let refused = authority.http(Some(&forged)).post(format!("https://{}/v1/verify", gateway.public)).send().await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_certificate_of_two_clients_is_nobodys() {
    let (authority, log) = (Authority::new("clients"), LogFile::new());
    let both = authority.client_of(&["spiffe://test/one", "two.example"]);
    let twice = authority.client_of(&["spiffe://test/one", "one.example"]);
    let clients = by_certificate("one", "uri = \"spiffe://test/one\" }, { id = \"other\", dns = \"one.example\"")
        + &by_certificate("two", "dns = \"two.example\"");
    let gateway = gateway(&authority, "any", &clients, &log).await;
    assert_refused(&ask(&gateway, &authority, Some(&both), None).await, "certificate_ambiguous");
    assert_eq!(ask(&gateway, &authority, Some(&twice), None).await.verdict(), "match", "two names of one client");
}

/// A gateway with two clients, each with a key and a certificate, and a third certificate that belongs to no client.
async fn pairs(identity: &str) -> (Authority, TestGateway, [Issued; 3]) {
    let (authority, log) = (Authority::new("clients"), LogFile::new());
    let issued = ["one", "two", "nobody"].map(|name| authority.client(&format!("spiffe://test/{name}")));
    let of = |name: &str| {
        let certificates = format!("certificates = [{{ id = \"c\", uri = \"spiffe://test/{name}\" }}]");
        client(name, &format!("{KEY}-{name}"), &certificates)
    };
    let gateway = gateway(&authority, identity, &(of("one") + &of("two")), &log).await;
    (authority, gateway, issued)
}

#[tokio::test]
async fn under_any_either_will_do_and_what_is_shown_must_not_contradict() {
    let (authority, gateway, [one, _, nobody]) = pairs("any").await;
    let ask = async |who, key| ask(&gateway, &authority, who, key).await;
    let (good, other) = (format!("{KEY}-one"), format!("{KEY}-two"));
    assert_eq!(ask(Some(&one), None).await.verdict(), "match");
    assert_eq!(ask(None, Some(&good)).await.verdict(), "match");
    assert_eq!(ask(Some(&one), Some(&good)).await.verdict(), "match");
    // A certificate that names no client may be that of a proxy, so the key identifies the client.
    assert_eq!(ask(Some(&nobody), Some(&good)).await.verdict(), "match");
    assert_refused(&ask(Some(&one), Some(&other)).await, "certificate_of_another_client");
    assert_problem(&ask(Some(&one), Some("wrong")).await, 401, "unauthenticated");
}

#[tokio::test]
async fn under_key_a_certificate_says_nothing() {
    let (authority, gateway, [one, ..]) = pairs("key").await;
    let ask = async |who, key| ask(&gateway, &authority, who, key).await;
    assert_problem(&ask(Some(&one), None).await, 401, "unauthenticated");
    assert_eq!(ask(Some(&one), Some(&format!("{KEY}-two"))).await.verdict(), "match");
}

#[tokio::test]
async fn under_certificate_a_key_says_nothing() {
    let (authority, gateway, [one, ..]) = pairs("certificate").await;
    let ask = async |who, key| ask(&gateway, &authority, who, key).await;
    let key = format!("{KEY}-one");
    assert_refused(&ask(None, Some(&key)).await, "certificate_missing");
    assert_eq!(ask(Some(&one), Some("wrong")).await.verdict(), "match");
}

#[tokio::test]
async fn under_both_key_and_certificate_are_of_the_same_client() {
    let (authority, gateway, [one, two, nobody]) = pairs("both").await;
    let ask = async |who, key| ask(&gateway, &authority, who, key).await;
    let key = format!("{KEY}-one");
    assert_eq!(ask(Some(&one), Some(&key)).await.verdict(), "match");
    assert_refused(&ask(Some(&two), Some(&key)).await, "certificate_of_another_client");
    assert_refused(&ask(Some(&nobody), Some(&key)).await, "certificate_unknown");
    assert_refused(&ask(None, Some(&key)).await, "certificate_missing");
    assert_refused(&ask(Some(&one), None).await, "key_missing");
    assert_problem(&ask(Some(&one), Some("wrong")).await, 401, "unauthenticated");
    assert_eq!(gateway.metric("idgate_requests_total", &[("client", "one"), ("status", "200")]).await, 1.0);
}

/// One provider whose limits no load in these tests reaches.
const WIDE: &str = "[chain]\norder = [\"aliyun\"]\n[providers.aliyun]\nrate_limit = 1000000\nmax_concurrency = 10000\n";

/// Asks over HTTP/2. Checks the headers; returns the status and the body.
async fn ask_over_http2(
    send: &mut h2::client::SendRequest<Bytes>,
    more: &[(&str, &str)],
) -> Result<(u16, serde_json::Value), h2::Error> {
    let mut request = Request::post("https://localhost/v1/verify").header("content-type", "application/json");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let mut ready = send.clone().ready().await?;
    let (response, mut body) = ready.send_request(request.body(()).unwrap(), false)?;
    body.send_data(Bytes::from(anybody().body().to_string()), true)?;
    let response = response.await?;
    assert!(!response.headers().contains_key("connection") && response.headers().contains_key("x-request-id"));
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((status, serde_json::from_slice(&bytes).unwrap()))
}

#[tokio::test]
async fn http_2_has_the_same_answers_lines_and_problems() {
    let (authority, log) = (Authority::new("clients"), LogFile::new());
    let one = authority.client("spiffe://test/one");
    let gateway = gateway(&authority, "any", &by_certificate("one", "uri = \"spiffe://test/one\""), &log).await;
    let connector = authority.connector(Some(&one), &[b"h2"]);
    let stream = over_tls(&connector, TcpStream::connect(gateway.public).await.unwrap()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let (status, body) = ask_over_http2(&mut send, &[("x-request-id", "http-2")]).await.unwrap();
    assert_eq!((status, &body["verdict"]), (200, &"match".into()));
    let lines = log.lines();
    let line = lines.last().unwrap();
    let shown = ["request_id", "method", "route", "client", "certificate_id"].map(|key| line[key].as_str().unwrap());
    assert_eq!(shown, ["http-2", "POST", "/v1/verify", "one", "one-cert"]);
    // Over the gateway's header limit but within that of HTTP/2: the gateway sends its own problem document.
    let (status, body) = ask_over_http2(&mut send, &[("long", &"a".repeat(17_000))]).await.unwrap();
    assert_eq!((status, &body["code"]), (431, &"headers_too_large".into()));
    // On shutdown the gateway sends GOAWAY, and the connection closes without an error.
    gateway.begin_stop();
    driver.await.unwrap().unwrap();
    assert!(gateway.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_over_http_2_loses_no_request() {
    let (authority, log) = (Authority::new("clients"), LogFile::new());
    let clients = client("payout", KEY, "rate_limit = 1000000");
    let tls = authority.server().section("tls", "");
    let gateway = TestGateway::new()
        .over(format!("{tls}{clients}{WIDE}[server]\ndrain_notice = \"300ms\"\n"))
        .access_log(log.log.clone())
        .http(authority.http(None))
        .start()
        .await;
    let connector = authority.connector(None, &[b"h2"]);
    let key = bearer(KEY);
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let stream = TcpStream::connect(gateway.public).await.unwrap();
        let stream = over_tls(&connector, stream).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..4 {
            let (mut send, key) = (send.clone(), key.clone());
            load.spawn(async move {
                let mut answered = 0;
                loop {
                    match ask_over_http2(&mut send, &[("authorization", &key)]).await {
                        Ok((status, body)) => {
                            assert_eq!(status, 200, "{body}");
                            answered += 1;
                        }
                        // The gateway did not process this request, so the client may retry it elsewhere.
                        Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => break,
                        Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => break,
                        Err(error) => panic!("a request was lost: {error:?}"),
                    }
                }
                answered
            });
        }
    }
    super::eventually("the load runs", async || log.lines().len() > 200).await;
    assert!(gateway.stop().await);
    let answered: usize = load.join_all().await.into_iter().sum();
    assert_eq!(log.lines().len(), answered, "every line is an answer that arrived");
}

/// A folder laid out like a Kubernetes mount: the files link to a link, and an update replaces that link.
struct Mounted<'a> {
    authority: &'a Authority,
    version: u32,
}

impl Mounted<'_> {
    /// Replaces the certificate and its key in one step.
    fn turn_to(&mut self, pair: &Issued) {
        let at = |name: &str| self.authority.path().with_file_name(name);
        self.version += 1;
        let version = format!("..{}", self.version);
        std::fs::create_dir(at(&version)).unwrap();
        std::fs::write(at(&version).join("server.pem"), &pair.certificate_pem).unwrap();
        std::fs::write(at(&version).join("server.key"), &pair.key_pem).unwrap();
        std::os::unix::fs::symlink(&version, at("..tmp")).unwrap();
        std::fs::rename(at("..tmp"), at("..data")).unwrap();
        if self.version == 1 {
            for name in ["server.pem", "server.key"] {
                std::os::unix::fs::symlink(format!("..data/{name}"), at(name)).unwrap();
            }
        }
    }

    fn section(&self) -> String {
        let at = |name: &str| self.authority.path().with_file_name(name);
        let (certificate, key) = (at("server.pem"), at("server.key"));
        format!("[server.tls]\ncertificate = {certificate:?}\nkey = {{ file = {key:?} }}\n[reload]\npoll = \"20ms\"\n")
    }
}

/// The metric for the expiry time of a certificate.
const END: &str = "idgate_tls_certificate_expiry_timestamp_seconds";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s41_a_certificate_that_is_swapped_by_symbolic_link_under_load_fails_no_request() {
    let authority = Authority::new("ours");
    let until = |year: i32| authority.server_until(year);
    let mut mounted = Mounted { authority: &authority, version: 0 };
    mounted.turn_to(&until(2030));
    let clients = client("payout", KEY, "rate_limit = 1000000");
    let toml = format!("{}{clients}{WIDE}", mounted.section());
    let gateway = TestGateway::new().over(toml).http(authority.http(None)).start().await;
    let public = [("listener", "public")];
    assert_eq!(gateway.metric(END, &public).await, 1_893_456_000.0);
    let connector = authority.connector(None, &[b"h2"]);
    let done = tokio_util::sync::CancellationToken::new();
    let mut load = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (connector, done, addr) = (connector.clone(), done.clone(), gateway.public);
        load.spawn(async move {
            let mut asked = 0;
            while !done.is_cancelled() {
                let stream = over_tls(&connector, TcpStream::connect(addr).await.unwrap()).await.expect("a handshake");
                let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                // Half of the clients connect anew for each request; the others reuse their connection.
                for _ in 0..if n % 2 == 0 { 1 } else { 50 } {
                    let (status, body) = ask_over_http2(&mut send, &[("authorization", &bearer(KEY))]).await.unwrap();
                    assert_eq!(status, 200, "{body}");
                    asked += 1;
                }
            }
            asked
        });
    }
    for (year, end) in [(2031, 1_924_992_000.0), (2032, 1_956_528_000.0), (2033, 1_988_150_400.0)] {
        mounted.turn_to(&until(year));
        super::eventually("the new one is shown", async || gateway.metric(END, &public).await == end).await;
    }
    // A certificate that does not match its key is refused, and the old pair stays in use.
    let mut wrong = until(2034);
    wrong.key_pem = until(2034).key_pem;
    mounted.turn_to(&wrong);
    let failed = async || gateway.metric("idgate_config_reloads_total", &[("result", "failure")]).await;
    super::eventually("the refusal is counted", async || failed().await >= 1.0).await;
    assert_eq!(gateway.metric(END, &public).await, 1_988_150_400.0);
    done.cancel();
    let asked: u32 = load.join_all().await.into_iter().sum();
    assert!(asked > 50, "{asked}");
    assert_eq!(gateway.metric("idgate_tls_handshake_failures_total", &public).await, 0.0);
    assert_eq!(gateway.metric("idgate_config_reloads_total", &[("result", "success")]).await, 3.0);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_list_that_revokes_a_client_is_in_force_after_a_reload() {
    let authority = Authority::new("clients");
    let one = authority.client("spiffe://test/one");
    let list = authority.list();
    let asked = format!("{}\nclient_crl = [{list:?}]", asks(&authority, "required"));
    let tls = authority.server().section("tls", &asked);
    let clients = by_certificate("one", "uri = \"spiffe://test/one\"");
    let gateway = TestGateway::new().over(format!("{tls}{clients}")).start().await;
    assert_eq!(ask(&gateway, &authority, Some(&one), None).await.verdict(), "match");
    std::fs::write(list, authority.revokes(&[&one])).unwrap();
    let reloaded = gateway.reload().await;
    assert_eq!(reloaded.body["changed"], serde_json::json!(["server.tls"]), "{reloaded:#?}");
    let refused = authority.http(Some(&one)).post(format!("https://{}/v1/verify", gateway.public)).send().await;
    assert!(refused.is_err());
    let reason = [("listener", "public"), ("reason", "client_certificate_refused")];
    assert!(gateway.metric("idgate_tls_handshake_failures_total", &reason).await >= 1.0);
}

#[tokio::test]
async fn from_plain_to_tls_is_another_listener_and_needs_a_restart() {
    let authority = Authority::new("ours");
    let file = authority.file("idgate.toml", "");
    let gateway = TestGateway::new().in_file(file).start().await;
    let section = authority.server().section("tls", "");
    gateway.rewrite(|text| format!("{text}\n{section}"));
    let refused = gateway.reload().await;
    assert_problem(&refused, 422, "invalid_configuration");
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().starts_with("server.tls: "), "{refused:#?}");
}
