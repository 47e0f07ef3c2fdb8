//! Outbound connections: which server certificates the gateway trusts, and the use of proxies and DNS.

use futures_util::future::join_all;
use serde_json::Value;

use super::unhurried;
use crate::support::net::{Authority, Door, NameServer, Tunnels, tls_1_1};
use crate::support::{Builder, Reply, TestGateway, anybody};

/// A name that only the tests' DNS resolvers know.
const HOST: &str = "provider.test";

/// One provider with these endpoints and further lines in its section.
fn provider_at(endpoints: &[String], more: &str) -> Builder {
    let toml = format!("[providers.yunyi]\nendpoints = {endpoints:?}\n{more}\n");
    unhurried(TestGateway::new()).chain(&["yunyi"]).over(toml).look_up(NameServer::answering(&[Some(&["127.0.0.1"])]))
}

/// A gateway whose only provider is behind `door`.
async fn behind(door: &Door, host: &str, more: &str) -> TestGateway {
    let gateway = provider_at(&[door.url(host)], more).start().await;
    door.lead_to(gateway.sandbox.addresses("yunyi")[0]);
    gateway
}

/// Asks about a person and checks that nothing was sent. Returns the reason of the attempt.
async fn refused(gateway: &TestGateway) -> String {
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(reply.attempts(), ["yunyi=unreachable(no)"], "{reply:#?}");
    assert_eq!(gateway.sandbox.calls("yunyi"), 0);
    let reason = reply.body["attempts"][0]["reason"].as_str().unwrap_or_default().to_owned();
    let status = gateway.status_of("yunyi").await;
    let last = &status["endpoints"][0]["last_fault"];
    assert_eq!((&last["outcome"], &last["reason"]), (&"unreachable".into(), &Value::from(&*reason)), "{status:#}");
    reason
}

async fn answered(gateway: &TestGateway) -> Reply {
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(reply.attempts(), ["yunyi=verdict(yes)"], "{reply:#?}");
    reply
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let authority = Authority::new("own");
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    let another = Authority::new("another");
    for (host, more, trusted) in [
        ("localhost", authority.ca_file(), true),
        ("127.0.0.1", authority.ca_file(), true),
        ("localhost", format!("{}\nroots = \"ca_file_only\"", authority.ca_file()), true),
        ("localhost", String::new(), false),
        ("localhost", another.ca_file(), false),
    ] {
        let door = Door::open(&identity).await;
        let gateway = behind(&door, host, &more).await;
        match trusted {
            true => drop(answered(&gateway).await),
            false => assert_eq!(refused(&gateway).await, "certificate_refused", "{host} {more}"),
        }
        assert!(gateway.stop().await);
    }
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_another_host_are_refused() {
    let authority = Authority::new("names");
    let expired = authority.issue_until(&["localhost"], 2020);
    let foreign = authority.issue(&["other.test"]);
    for identity in [expired, foreign] {
        let door = Door::open(&identity).await;
        let gateway = behind(&door, "localhost", &authority.ca_file()).await;
        assert_eq!(refused(&gateway).await, "certificate_refused");
        assert!(gateway.stop().await);
    }
}

#[tokio::test]
async fn a_pinned_key_is_taken_any_other_is_refused_and_the_next_one_stands_beside_it() {
    let authority = Authority::new("pins");
    let (now, next) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let pinned = |pins: &[String]| format!("{}\npinned_sha256 = {pins:?}", authority.ca_file());
    let both = pinned(&[now.pin(), next.pin().to_uppercase()]);
    for (identity, more, taken) in [
        (&now, pinned(&[now.pin()]), true),
        (&next, pinned(&[now.pin()]), false),
        (&now, both.clone(), true),
        (&next, both, true),
    ] {
        let door = Door::open(identity).await;
        let gateway = behind(&door, "localhost", &more).await;
        match taken {
            true => drop(answered(&gateway).await),
            false => assert_eq!(refused(&gateway).await, "pin_mismatch"),
        }
        assert!(gateway.stop().await);
    }
}

#[tokio::test]
async fn a_pin_never_stands_in_for_the_chain() {
    let identity = Authority::new("unknown").issue(&["localhost"]);
    let door = Door::open(&identity).await;
    let gateway = behind(&door, "localhost", &format!("pinned_sha256 = [{:?}]", identity.pin())).await;
    assert_eq!(refused(&gateway).await, "certificate_refused");
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_server_of_an_old_tls_version_is_refused() {
    let addr = tls_1_1().await;
    let gateway = provider_at(&[format!("https://{addr}")], "").start().await;
    assert_eq!(refused(&gateway).await, "tls_failed");
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_certificate_that_is_refused_sends_the_question_to_the_next_provider_and_is_an_error_for_the_operator() {
    let identity = Authority::new("lost").issue(&["localhost"]);
    let door = Door::open(&identity).await;
    let endpoints = [door.url("localhost")];
    let toml = format!("[providers.yunyi]\nendpoints = {endpoints:?}\n");
    let gateway = unhurried(TestGateway::new()).chain(&["yunyi", "muzhiyun"]).over(toml).start().await;
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(reply.attempts(), ["yunyi=unreachable(no)", "muzhiyun=verdict(yes)"]);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_signed_host_is_the_one_that_is_asked_through_tls_too() {
    let authority = Authority::new("signed");
    let door = Door::open(&authority.issue(&["localhost"])).await;
    let toml = format!("[providers.aliyun]\nendpoints = [{:?}]\n{}\n", door.url("localhost"), authority.ca_file());
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).over(toml).start().await;
    door.lead_to(gateway.sandbox.addresses("aliyun")[0]);
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=verdict(yes)"]);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_sees_no_more_than_the_host() {
    let authority = Authority::new("tunnel");
    let door = Door::open(&authority.issue(&[HOST])).await;
    let tunnels = Tunnels::open(door.addr, Some("idgate:s3cret:with:colons")).await;
    let login = "proxy_login = { value = \"idgate:s3cret:with:colons\" }";
    let more = format!("{}\nproxy = \"http://{}\"\n{login}", authority.ca_file(), tunnels.addr);
    // The gateway cannot resolve the provider's name: the proxy does that.
    let gateway =
        provider_at(&[format!("https://{HOST}")], &more).look_up(NameServer::answering(&[None])).start().await;
    door.lead_to(gateway.sandbox.addresses("yunyi")[0]);
    answered(&gateway).await;
    assert_eq!(tunnels.asked(), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_proxy_that_gives_no_tunnel_is_named_as_the_culprit() {
    let authority = Authority::new("no-tunnel");
    let door = Door::open(&authority.issue(&[HOST])).await;
    let wants_login = Tunnels::open(door.addr, Some("idgate:right")).await.addr;
    let nobody = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    for proxy in [wants_login, nobody] {
        let more = format!("proxy = \"http://{proxy}\"\nproxy_login = {{ value = \"idgate:wrong\" }}");
        let gateway = provider_at(&[format!("https://{HOST}")], &more).start().await;
        assert_eq!(refused(&gateway).await, "proxy_failed");
        assert!(gateway.stop().await);
    }
}

#[tokio::test]
async fn a_loopback_endpoint_goes_past_the_proxy() {
    let authority = Authority::new("past");
    let door = Door::open(&authority.issue(&["localhost"])).await;
    let tunnels = Tunnels::open(door.addr, None).await;
    let more = format!("{}\nproxy = \"http://{}\"", authority.ca_file(), tunnels.addr);
    for host in ["localhost", "LocalHost"] {
        let door = Door::open(&authority.issue(&["localhost"])).await;
        let gateway = behind(&door, host, &more).await;
        answered(&gateway).await;
        assert!(gateway.stop().await);
    }
    assert!(tunnels.asked().is_empty(), "{:?}", tunnels.asked());
}

#[tokio::test]
async fn a_name_server_that_is_down_costs_no_question_once_it_has_answered() {
    let authority = Authority::new("stale");
    let door = Door::open(&authority.issue(&[HOST])).await;
    let more = format!("{}\n[dns]\nfresh = \"0s\"", authority.ca_file());
    let gateway = provider_at(&[door.url(HOST)], &more)
        .look_up(NameServer::answering(&[Some(&["127.0.0.1"]), None]))
        .start()
        .await;
    door.lead_to(gateway.sandbox.addresses("yunyi")[0]);
    answered(&gateway).await;
    // Concurrent and slow, so that each request needs its own connection.
    gateway.fault("yunyi", r#"{"kind": "slow", "delay": "300ms"}"#);
    let people: Vec<_> = (0..8).map(|_| anybody()).collect();
    let replies = join_all(people.iter().map(|person| gateway.ask(person))).await;
    assert!(replies.iter().all(|reply| reply.verdict() == "match"), "{replies:#?}");
    let count = async |result: &str| gateway.metric("idgate_dns_lookups_total", &[("result", result)]).await;
    assert_eq!((count("fresh").await, count("failed").await), (1.0, 0.0));
    assert!(count("stale").await >= 7.0, "{}", count("stale").await);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_name_that_never_resolved_is_unreachable_for_that_reason() {
    let gateway = provider_at(&[format!("https://{HOST}")], "").look_up(NameServer::answering(&[None])).start().await;
    assert_eq!(refused(&gateway).await, "name_unresolved");
    assert_eq!(gateway.metric("idgate_dns_lookups_total", &[("result", "failed")]).await, 1.0);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn a_dead_address_of_one_kind_costs_nothing_where_one_of_the_other_lives() {
    let authority = Authority::new("dual");
    let identity = authority.issue(&[HOST]);
    // Nothing listens on ::1 at this port.
    for (family, reached) in [("dual", true), ("v4", true), ("v6", false)] {
        let door = Door::open(&identity).await;
        let gateway = provider_at(&[door.url(HOST)], &format!("{}\nip = {family:?}", authority.ca_file()))
            .look_up(NameServer::answering(&[Some(&["::1", "127.0.0.1"])]))
            .start()
            .await;
        door.lead_to(gateway.sandbox.addresses("yunyi")[0]);
        let expected = if reached { "yunyi=verdict(yes)" } else { "yunyi=unreachable(no)" };
        assert_eq!(gateway.ask(&anybody()).await.attempts(), [expected], "{family}");
        assert!(gateway.stop().await);
    }
}
