//! Everything that depends on the caller's identity: purposes, key expiry, certificates, rate limits, daily caps,
//! enumeration limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use idgate::domain::clock::Clock;
use idgate::providers::{DRIVERS, Stamp};
use jiff::{SignedDuration, Timestamp};

use super::{APP_CODE, Speaker, client, hash, one_of_each, right, section, send, speakers, wrong};
use crate::ledger::Folder;
use crate::support::{Pair, TestGateway, anybody, person, pki};

#[tokio::test]
async fn a_key_says_what_its_questions_are_for_and_the_ledger_knows_it() {
    let folder = Folder::new();
    let purposes = "purposes = [\"withdrawal\", \"audit\"]\n";
    let keys = section(purposes)
        .replace("\" }]", "\", purpose = \"audit\" }]")
        .replace("\" } }]", "\" }, purpose = \"withdrawal\" }]");
    let gateway = folder.gateway().over(keys).start().await;
    for speaker in one_of_each() {
        assert!(speaker.ask(&gateway, &anybody()).await.is_answered(), "{}", speaker.label());
    }
    let of = async |purpose: &str| gateway.metric("idgate_requests_total", &[("purpose", purpose)]).await;
    let all = one_of_each();
    let bearers = all.iter().filter(|speaker| !speaker.is_signed()).count();
    let signed = all.len() - bearers;
    assert_eq!((of("withdrawal").await, of("audit").await), (signed as f64, bearers as f64));
    assert!(gateway.stop().await);
    let answers: Vec<_> =
        folder.entries().await.into_iter().filter_map(|entry| serde_json::to_value(entry).ok()).collect();
    let answers: Vec<_> = answers.iter().filter(|entry| entry["kind"] == "answer").collect();
    assert_eq!(answers.len(), all.len());
    for answer in answers {
        assert_eq!(answer["client"], "legacy");
        let key = answer["key_id"].as_str().unwrap();
        let is_expected = |speaker: &&Speaker| match speaker.is_signed() {
            true => answer["purpose"] == "withdrawal" && key == speaker.id,
            false => answer["purpose"] == "audit" && key == "legacy-code",
        };
        assert!(all.iter().any(|speaker| is_expected(&speaker)), "{answer}");
    }
}

#[tokio::test]
async fn a_key_ends_at_its_expiry_and_says_so_where_the_protocol_can() {
    let keys = section("")
        .replace("\" }]", "\", expires = \"2030-01-01T00:00:00Z\" }]")
        .replace("\" } }]", "\" }, expires = \"2030-01-01T00:00:00Z\" }]");
    let start: Timestamp = "2029-12-31T23:59:00Z".parse().unwrap();
    let moved = Arc::new(AtomicI64::new(0));
    let shift = Arc::clone(&moved);
    let clock = Clock::new(move || start + SignedDuration::from_secs(shift.load(Ordering::SeqCst)));
    let now = clock.clone();
    let gateway = TestGateway::new().over(keys).clock(clock).start().await;
    let ends = gateway.metric("idgate_client_key_expiry_timestamp_seconds", &[("client", "legacy")]).await;
    assert_eq!(ends, idgate::providers::schemes().len() as f64 * 1_893_456_000.0);
    let ask = async |speaker: &Speaker, nonce: &str| {
        let stamp = Stamp { now: now.now(), nonce: nonce.to_owned() };
        send(&gateway, speaker.signed(&gateway.public.to_string(), &right(), &stamp)).await
    };
    for speaker in speakers() {
        // The simulators use the real time and refuse our calls, but the caller itself is authenticated.
        let answer = ask(&speaker, &speaker.label().replace(' ', "")).await;
        assert_ne!(answer.said(), speaker.says("ended"), "{}: {answer:?}", speaker.label());
        assert_ne!(answer.said(), speaker.says("unknown_key"), "{}: {answer:?}", speaker.label());
    }
    moved.store(60, Ordering::SeqCst);
    for speaker in speakers() {
        let said = ask(&speaker, &format!("{}2", speaker.label().replace(' ', ""))).await.said();
        assert_eq!(said, speaker.says("ended"), "{}", speaker.label());
    }
}

#[tokio::test]
async fn the_rate_and_the_day_of_a_client_are_the_same_in_every_protocol() {
    let key = format!("keys = [{{ id = \"rest\", sha256 = \"{}\" }}]\ndaily_cap = 3", hash("idg_synthetic-key"));
    let gateway = TestGateway::new().over(section(&key)).start().await;
    let rest = async || gateway.ask_with(&anybody(), &[("authorization", "Bearer idg_synthetic-key")]).await;
    assert_eq!(rest().await.verdict(), "match");
    for speaker in &one_of_each()[..2] {
        assert!(speaker.ask(&gateway, &anybody()).await.is_answered());
    }
    for speaker in one_of_each() {
        let answer = speaker.ask(&gateway, &anybody()).await;
        assert_eq!(speaker.heard(&right(), &answer).unwrap_err().outcome.as_str(), "rate_limited", "{answer:?}");
    }
    assert_eq!(rest().await.code(), "rate_limited");
}

#[tokio::test]
async fn what_a_protocol_refuses_takes_nothing_from_the_day() {
    let gateway = TestGateway::new().over(section("daily_cap = 1")).start().await;
    let speaker = Speaker::new("yunyi", 0);
    let refused = speaker.ask(&gateway, &Pair::new("", &anybody().id_number)).await;
    assert!(speaker.heard(&right(), &refused).is_err(), "{refused:?}");
    let pair = anybody();
    let answer = speaker.ask(&gateway, &pair).await;
    assert!(speaker.heard(&pair, &answer).is_ok(), "{answer:?}");
}

/// Issue 13, line 20: a body in GBK that happened to be valid UTF-8 was asked, and paid for, as another name.
#[tokio::test]
async fn a_body_in_another_charset_is_refused_in_every_protocol_before_anything_is_paid() {
    let gateway = TestGateway::new().over(section("")).start().await;
    let ask = async |speaker: &Speaker, charset: &str| {
        let mut request = speaker.request(&gateway, &anybody());
        let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = format!("{}; charset={charset}", kind.split(';').next().unwrap_or_default());
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        send(&gateway, request).await
    };
    let with_body = || speakers().into_iter().filter(|speaker| !speaker.request(&gateway, &right()).body().is_empty());
    assert!(with_body().any(|speaker| !speaker.is_signed()) && with_body().any(|speaker| speaker.is_signed()));
    for speaker in with_body() {
        let answer = ask(&speaker, "GBK").await;
        assert!(!answer.is_answered(), "{}: {answer:?}", speaker.label());
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
    for speaker in with_body().filter(|speaker| !speaker.is_signed()) {
        assert!(ask(&speaker, "utf-8").await.is_answered(), "{}", speaker.label());
    }
}

#[tokio::test]
async fn who_tries_names_out_is_stopped_in_every_protocol() {
    for speaker in one_of_each() {
        let gateway = TestGateway::new().over(section("")).over("[enumeration]\nnames_per_number = 2").start().await;
        for name in ["张三", "李四"] {
            assert!(speaker.ask(&gateway, &Pair::new(name, &right().id_number)).await.is_answered());
        }
        let answer = speaker.ask(&gateway, &Pair::new("王五", &right().id_number)).await;
        assert_eq!(answer.said(), speaker.says("too_often"), "{}: {answer:?}", speaker.label());
        assert_eq!(gateway.sandbox.calls("aliyun"), 2);
        // Cached answers are still served.
        assert!(speaker.ask(&gateway, &wrong()).await.is_answered());
    }
}

#[tokio::test]
async fn an_app_code_in_the_query_counts_only_where_it_is_switched_on() {
    let ask = async |gateway: &TestGateway| {
        let uri =
            format!("http://{}/idcard?AppCode={APP_CODE}&xm=%E5%BC%A0%E4%B8%89&sfz=11010519491231002X", gateway.public);
        let request = http::Request::get(uri).header("accept", "*/*").body(bytes::Bytes::new()).unwrap();
        send(gateway, request).await
    };
    let off = TestGateway::new().over(section("")).start().await;
    assert_eq!(ask(&off).await.word(), "A400MA");
    let on = TestGateway::new().over(section("")).over("[compat]\nappcode_in_query = true").start().await;
    assert_eq!(ask(&on).await.word(), "实名信息正确");
}

#[tokio::test]
async fn one_clients_keys_are_not_anothers_and_each_is_counted_for_its_own() {
    let two = format!("{}{}", section(""), client("other", "B", ""));
    let gateway = TestGateway::new().over(two).start().await;
    for speaker in speakers() {
        assert!(speaker.ask(&gateway, &right()).await.is_answered());
        assert!(speaker.of("B").ask(&gateway, &right()).await.is_answered());
        let crossed =
            Speaker { id: format!("{}B", speaker.id), secret: format!("{}B", speaker.secret), ..speaker.clone() };
        let believed = crossed.ask(&gateway, &right()).await.is_answered();
        assert_eq!(believed, !speaker.is_signed(), "an AppCode is its own proof: {}", speaker.label());
    }
    let of =
        async |client: &str| gateway.metric("idgate_requests_total", &[("client", client), ("status", "200")]).await;
    let all = speakers();
    let bearers = all.iter().filter(|speaker| !speaker.is_signed()).count();
    assert_eq!((of("legacy").await, of("other").await), (all.len() as f64, (all.len() + bearers) as f64));
}

#[tokio::test]
async fn a_client_that_has_to_show_a_certificate_has_to_show_it_here_too() {
    let (authority, server) = pki::shared();
    let tls =
        server.section("tls", &format!("client_ca = {:?}\nclient_certificate = \"optional\"\n", authority.path()));
    let certificates = "certificates = [{ id = \"legacy-cert\", uri = \"spiffe://test/legacy\" }]";
    let toml = format!("[server]\nclient_identity = \"both\"\n{}{tls}", section(certificates));
    let gateway = TestGateway::new().over(toml).start().await;
    for speaker in one_of_each() {
        let mut request = speaker.request(&gateway, &right());
        *request.uri_mut() = request.uri().to_string().replace("http://", "https://").parse().unwrap();
        let http = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).build().unwrap();
        let response = http.execute(reqwest::Request::try_from(request).unwrap()).await.unwrap();
        assert!(!response.headers().contains_key("x-idgate-verification-id"), "{}: {response:?}", speaker.label());
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}

#[tokio::test]
async fn a_question_in_one_protocol_is_answered_by_whichever_provider_can() {
    let gateway = TestGateway::new().over(section("")).start().await;
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500}"#);
    for (speaker, n) in one_of_each().iter().zip(0..) {
        let pair = person(9_000 + n);
        let finding = speaker.heard(&pair, &speaker.ask(&gateway, &pair).await);
        assert_eq!(finding.unwrap().verdict.as_str(), "match", "{}", speaker.label());
    }
    assert_eq!(gateway.sandbox.calls(DRIVERS[1].name), one_of_each().len() as u64);
}

#[tokio::test]
async fn the_reference_that_a_caller_keeps_finds_its_answer_in_the_ledger() {
    let folder = Folder::new();
    let keys = section(&format!("keys = [{{ id = \"rest\", sha256 = \"{}\" }}]", hash("idg_synthetic-key")));
    let gateway = folder.gateway().over(keys).start().await;
    for speaker in one_of_each() {
        let pair = anybody();
        let reference = speaker.heard(&pair, &speaker.ask(&gateway, &pair).await).unwrap().request_id.unwrap();
        let url = format!("http://{}/v1/verifications/{}", gateway.public, reference.as_str());
        let found = gateway.http.get(url).bearer_auth("idg_synthetic-key").send().await.unwrap();
        assert_eq!(found.status(), 200, "{}", speaker.label());
        let found: serde_json::Value = serde_json::from_slice(&found.bytes().await.unwrap()).unwrap();
        assert_eq!(found["verdict"], "match", "{found}");
    }
}

#[tokio::test]
async fn a_caller_over_http2_is_believed_by_the_host_that_it_has_signed() {
    let (authority, server) = pki::shared();
    let gateway = TestGateway::new().over(format!("{}{}", section(""), server.section("tls", ""))).start().await;
    let stream = tokio::net::TcpStream::connect(gateway.public).await.unwrap();
    let stream = pki::over_tls(&authority.connector(None, &[b"h2"]), stream).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for speaker in one_of_each() {
        let mut request = speaker.request(&gateway, &right());
        // The signed host moves from the header to `:authority` in HTTP/2.
        request.headers_mut().remove("host");
        *request.uri_mut() = request.uri().to_string().replace("http://", "https://").parse().unwrap();
        let (head, body) = request.into_parts();
        let (response, mut stream) = send.send_request(http::Request::from_parts(head, ()), false).unwrap();
        stream.send_data(body, true).unwrap();
        let response = response.await.unwrap();
        assert!(response.headers().contains_key("x-idgate-verification-id"), "{}", speaker.label());
    }
}
