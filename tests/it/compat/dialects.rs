//! Checks that each dialect reports every case with the protocol's own codes.

use std::time::Duration;

use idgate::domain::personal::Secret;
use idgate::domain::verdict::Verdict;
use idgate::providers::{DRIVERS, Stamp};
use jiff::{SignedDuration, Timestamp};

use super::{ACCESS_KEY, Speaker, nobody, one_of_each, right, section, send, speakers, wrong};
use crate::clock::Hands;
use crate::support::{Builder, Pair, TestGateway, anybody, eventually};

/// Rate limits and breakers out of reach, so that they do not interfere.
fn steady() -> Builder {
    let fast: String =
        DRIVERS.iter().map(|driver| format!("[providers.{}]\nrate_limit = 1000000\n", driver.name)).collect();
    let breakers = "[breaker]\nconsecutive_failures = 100000\nminimum_calls = 100000\n";
    TestGateway::new().unlisted(Verdict::NoRecord).over(section("")).over(fast).over(breakers)
}

#[tokio::test]
async fn every_dialect_tells_the_three_verdicts_as_its_provider_does() {
    let gateway = steady().start().await;
    for speaker in speakers() {
        for (pair, verdict, case) in [
            (right(), Verdict::Match, "match"),
            (wrong(), Verdict::Mismatch, "mismatch"),
            (nobody(), Verdict::NoRecord, "no_record"),
        ] {
            let answer = speaker.ask(&gateway, &pair).await;
            assert_eq!(answer.said(), speaker.says(case), "{}: {answer:?}", speaker.label());
            let finding =
                speaker.heard(&pair, &answer).unwrap_or_else(|fault| panic!("{}: {fault:?}", speaker.label()));
            assert_eq!(finding.verdict, verdict, "{}", speaker.label());
            // The id that the caller stores finds the answer again.
            let id = answer.header("x-idgate-verification-id");
            assert!(finding.request_id.unwrap().as_str().eq_ignore_ascii_case(id), "{}", speaker.label());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 3, "asked once each, whoever asks");
    assert!(
        gateway.metric("idgate_requests_total", &[("client", "legacy"), ("status", "200")]).await
            >= 3.0 * speakers().len() as f64
    );
}

#[tokio::test]
async fn the_person_is_told_as_the_provider_tells_it() {
    let gateway = steady().start().await;
    let pair = Pair::new("孙〇", "610104197010109939");
    let answer = Speaker::new("yunyi", 0).ask(&gateway, &pair).await.body();
    let told = ["name", "idNo", "province", "city", "county", "birthday", "sex"].map(|member| answer[member].clone());
    let said = ["孙〇", "610104197010109939", "陕西省", "西安市", "莲湖区", "19701010", "M"];
    assert_eq!(told, said.map(serde_json::Value::from), "{answer}");
    assert!(answer["age"].as_str().unwrap().parse::<u16>().unwrap() >= 56, "{answer}");
    let answer = Speaker::new("muzhiyun", 0).ask(&gateway, &pair).await;
    let body = answer.body();
    let told = ["xm", "sfz", "birthday", "sex", "address"].map(|member| body[member].clone());
    let said = ["孙**", "6101*****39", "19****10", "男", "陕西省西安市**区"];
    assert_eq!(told, said.map(serde_json::Value::from), "{body}");
    assert!(!answer.text().contains("610104197010109939"));
}

#[tokio::test]
async fn who_may_not_have_what_the_number_tells_gets_none_of_it() {
    let gateway = TestGateway::new().over(section("include_person = false")).start().await;
    let pair = anybody();
    let answer = Speaker::new("yunyi", 0).ask(&gateway, &pair).await.body();
    assert_eq!((&answer["respCode"], &answer["birthday"], &answer["sex"]), (&"0000".into(), &"".into(), &"".into()));
    let answer = Speaker::new("muzhiyun", 0).ask(&gateway, &pair).await.body();
    assert_eq!(answer["match"], true);
    assert!(["birthday", "sex", "address"].iter().all(|member| answer.get(member).is_none()), "{answer}");
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_in_the_protocols_words_and_nobody_is_asked() {
    let gateway = steady().start().await;
    let number = "11010519491231002X";
    for speaker in speakers() {
        for (name, number, case) in [
            ("张三", "110105194912310021", "bad_number"),
            ("张3", number, "bad_name"),
            ("", number, "no_name"),
            ("张三", "", "no_number"),
            // A name without Han characters for a citizen's number: our own rule about the pair.
            ("ZHANG SAN", number, "bad_pair"),
        ] {
            let answer = speaker.ask(&gateway, &Pair::new(name, number)).await;
            assert_eq!(answer.said(), speaker.says(case), "{} {name} {number}: {answer:?}", speaker.label());
            assert_eq!(answer.header("x-idgate-verification-id"), "");
        }
    }
    for driver in DRIVERS {
        assert_eq!(gateway.sandbox.calls(driver.name), 0);
    }
    assert!(gateway.metric("idgate_calls_avoided_total", &[("reason", "invalid_input")]).await > 0.0);
}

#[tokio::test]
async fn a_caller_over_its_rate_is_throttled_with_a_hint() {
    for speaker in speakers() {
        let gateway = TestGateway::new().over(section("rate_limit = 1")).start().await;
        let mut throttled = None;
        for _ in 0..200 {
            let answer = speaker.ask(&gateway, &right()).await;
            if answer.said() == speaker.says("throttled") {
                throttled = Some(answer);
                break;
            }
            assert!(answer.is_answered(), "{}: {answer:?}", speaker.label());
        }
        let throttled = throttled.unwrap_or_else(|| panic!("{}: never throttled", speaker.label()));
        let fault = speaker.heard(&right(), &throttled).unwrap_err();
        assert!(
            fault.retry_after.is_some_and(|pause| pause >= Duration::from_secs(1)),
            "{}: {fault:?}",
            speaker.label()
        );
        assert_eq!(fault.outcome.as_str(), "rate_limited");
    }
}

#[tokio::test]
async fn when_everybody_is_down_each_protocol_says_so_in_its_own_way() {
    let gateway = steady().start().await;
    for driver in DRIVERS {
        gateway.fault(driver.name, r#"{"kind": "status", "status": 500}"#);
    }
    for speaker in speakers() {
        let answer = speaker.ask(&gateway, &anybody()).await;
        assert_eq!(answer.said(), speaker.says("failed"), "{}: {answer:?}", speaker.label());
    }
    for driver in DRIVERS {
        assert_eq!(gateway.admin_post(&format!("/v1/providers/{}/isolate", driver.name)).await, 204);
    }
    for speaker in speakers() {
        let answer = speaker.ask(&gateway, &anybody()).await;
        assert_eq!(answer.said(), speaker.says("unavailable"), "{}: {answer:?}", speaker.label());
    }
}

#[tokio::test]
async fn a_call_that_does_not_answer_in_time_is_unknown_in_every_protocol() {
    let gateway = steady().chain(&["aliyun"]).over("[server]\nrequest_timeout = \"300ms\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    for speaker in one_of_each() {
        let pair = anybody();
        let answer = speaker.ask(&gateway, &pair).await;
        assert_eq!(answer.said(), speaker.says("unknown"), "{}: {answer:?}", speaker.label());
        assert_ne!(answer.header("x-idgate-verification-id"), "", "{}: nobody finds its call", speaker.label());
        let billed = speaker.heard(&pair, &answer).unwrap_err().billed;
        assert_eq!(billed.as_str(), "unknown", "{}", speaker.label());
    }
}

#[tokio::test]
async fn who_waits_while_the_process_goes_down_is_not_told_that_nothing_was_begun() {
    let gateway = steady().chain(&["aliyun"]).over("[server]\ndrain_timeout = \"1s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let all = one_of_each();
    let people: Vec<_> = all.iter().map(|_| anybody()).collect();
    let asking = futures_util::future::join_all(all.iter().zip(&people).map(|(one, pair)| one.ask(&gateway, pair)));
    let stop = async {
        eventually("all are under way", async || gateway.sandbox.calls("aliyun") == all.len() as u64).await;
        gateway.begin_stop();
    };
    let (answers, ()) = tokio::join!(asking, stop);
    for (speaker, answer) in all.iter().zip(&answers) {
        assert_eq!(answer.said(), speaker.says("unknown"), "{}: {answer:?}", speaker.label());
    }
    assert!(!gateway.stop().await, "the calls that hang had to be cut");
}

#[tokio::test]
async fn who_sends_slowly_and_is_nobody_stands_in_nobodys_way() {
    use tokio::io::AsyncWriteExt;
    let gateway = steady().over("[server]\nmax_in_flight = 2").start().await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut socket = tokio::net::TcpStream::connect(gateway.public).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\nx-acs-action: Id2MetaVerify\r\nx-acs-version: 2019-03-07\r\ncontent-length: 10\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    for speaker in speakers() {
        assert!(speaker.ask(&gateway, &right()).await.is_answered(), "{}", speaker.label());
    }
    // A request without a body is not queued behind the bodies being read.
    let answer = gateway.ask_with(&right(), &[("authorization", "Bearer nobody")]).await;
    assert_eq!(answer.code(), "unauthenticated", "REST is not in the queue behind them");
}

#[tokio::test]
async fn a_wrong_key_is_refused_as_the_real_gateway_does() {
    let gateway = steady().start().await;
    for speaker in speakers() {
        let answer = speaker.of("X").ask(&gateway, &right()).await;
        assert_eq!(answer.said(), speaker.says("unknown_key"), "{}: {answer:?}", speaker.label());
        if speaker.is_signed() {
            let stranger = Speaker { secret: "idg_another-secret-of-a-pair".to_owned(), ..speaker.clone() };
            let answer = stranger.ask(&gateway, &right()).await;
            assert_eq!(answer.said(), speaker.says("wrong_secret"), "{}: {answer:?}", speaker.label());
            assert!(!answer.text().contains("张三") && !answer.text().contains("11010519491231002X"));
        }
        let fault = speaker.heard(&right(), &answer).unwrap_err();
        assert_eq!(fault.outcome.as_str(), "account_fault", "{}", speaker.label());
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
    assert_eq!(gateway.metric("idgate_requests_total", &[("client", "legacy")]).await, 0.0, "nobody is charged for it");
}

#[tokio::test]
async fn a_recorded_request_is_answered_once_unless_the_provider_answers_it_again() {
    let gateway = steady().start().await;
    for speaker in speakers().into_iter().filter(Speaker::is_signed) {
        let request = speaker.request(&gateway, &right());
        let first = send(&gateway, request.clone()).await;
        assert!(first.is_answered(), "{}: {first:?}", speaker.label());
        let expected = if speaker.refuses_replays() { speaker.says("replayed") } else { speaker.says("match") };
        for _ in 0..2 {
            let again = send(&gateway, request.clone()).await;
            assert_eq!(again.said(), expected, "{}: {again:?}", speaker.label());
        }
    }
}

#[tokio::test]
async fn a_recorded_request_is_not_answered_again_after_a_step_of_the_clock_and_back() {
    for off in [2 * 3600, -2 * 3600, 40 * 86_400] {
        let (hands, clock) = Hands::new(Timestamp::now());
        // Nobody is asked about so often that the person is put on hold.
        let remembers = "[cache]\nmatch_ttl = \"24h\"";
        let gateway = steady().chain(&["yunyi"]).over(remembers).clock(clock).start().await;
        for speaker in speakers().into_iter().filter(|speaker| speaker.is_signed() && speaker.refuses_replays()) {
            let signed = |nonce: &str| {
                let nonce = format!("{nonce}{}", speaker.label().replace(' ', ""));
                speaker.signed(&gateway.public.to_string(), &right(), &Stamp { now: hands.wall(), nonce })
            };
            let recorded = signed("recorded");
            assert!(send(&gateway, recorded.clone()).await.is_answered(), "{}", speaker.label());
            hands.set(off);
            // Somebody who has the same clock: what has expired by it is swept.
            assert!(send(&gateway, signed("other")).await.is_answered(), "{}", speaker.label());
            hands.pass(60);
            hands.set(0);
            let again = send(&gateway, recorded.clone()).await;
            assert_eq!(again.said(), speaker.says("replayed"), "{off}: {}: {again:?}", speaker.label());
            // It has expired and its nonce is forgotten, when the clock goes back to its time.
            hands.pass(2 * 3600);
            let later = send(&gateway, signed("later")).await;
            assert!(later.is_answered(), "{off}: {}: {later:?}", speaker.label());
            hands.set(-2 * 3600);
            let again = send(&gateway, recorded).await;
            assert_eq!(again.said(), speaker.says("replayed"), "{off}: {}: {again:?}", speaker.label());
            hands.set(0);
            hands.pass(3600);
        }
    }
}

#[tokio::test]
async fn of_many_copies_at_once_one_is_answered() {
    let gateway = steady().start().await;
    for speaker in speakers().into_iter().filter(|speaker| speaker.is_signed() && speaker.refuses_replays()) {
        let request = speaker.request(&gateway, &right());
        let copies = (0..20).map(|_| send(&gateway, request.clone()));
        let answers = futures_util::future::join_all(copies).await;
        let believed = answers.iter().filter(|answer| speaker.heard(&right(), answer).is_ok()).count();
        assert_eq!(believed, 1, "{}: {answers:?}", speaker.label());
    }
}

#[tokio::test]
async fn a_request_whose_nonce_is_not_signed_is_no_new_one_under_another_nonce() {
    let gateway = steady().start().await;
    let speaker = Speaker::new("muzhiyun", 1);
    let mut request = speaker.request(&gateway, &right());
    let listed = ["x-ca-key", "x-ca-timestamp"];
    let secret = Secret::new(speaker.secret.as_str());
    idgate::providers::alibaba::x_ca::sign_listed(&mut request, &secret, Default::default(), &listed).unwrap();
    assert_eq!(send(&gateway, request.clone()).await.status(), 200);
    request.headers_mut().insert("x-ca-nonce", "another".parse().unwrap());
    assert_eq!(send(&gateway, request).await.word(), "Nonce Used");
}

#[tokio::test]
async fn a_time_stamp_is_good_for_the_window_of_its_protocol_either_way() {
    let gateway = steady().start().await;
    for speaker in speakers().into_iter().filter(Speaker::is_signed) {
        let window = speaker.dialect().clock_window.as_secs();
        let cases = [(-window + 60, true), (window - 60, true), (-window - 60, false), (window + 60, false)];
        for (seconds, is_good) in cases {
            let now = Timestamp::now() + SignedDuration::from_secs(seconds);
            let stamp = Stamp { now, nonce: format!("n{seconds}{}", speaker.label().replace(' ', "")) };
            let request = speaker.signed(&gateway.public.to_string(), &right(), &stamp);
            let answer = send(&gateway, request).await;
            assert_eq!(answer.said() == speaker.says("expired"), !is_good, "{} {seconds}: {answer:?}", speaker.label());
            assert_eq!(answer.is_answered(), is_good, "{} {seconds}: {answer:?}", speaker.label());
        }
    }
}

#[tokio::test]
async fn whatever_else_is_wrong_is_answered_in_the_protocol_too() {
    let gateway = steady().over("[server]\nmax_body_bytes = 2048").start().await;
    let url = |path: &str| format!("http://{}{path}", gateway.public);
    let plain =
        |method: &str, path: &str| http::Request::builder().method(method).uri(url(path)).header("accept", "*/*");
    let empty = |request: http::request::Builder| request.body(bytes::Bytes::new()).unwrap();
    let long = bytes::Bytes::from("a".repeat(5000));
    let form = "application/x-www-form-urlencoded";
    let v1 = "Action=Id2MetaVerify&Version=2019-03-07&AccessKeyId=x&Signature=y&SignatureMethod=HMAC-SHA1";
    for (request, said) in [
        (empty(plain("GET", "/")), (400, "MissingAction")),
        (empty(plain("DELETE", "/")), (405, "UnsupportedHTTPMethod")),
        (empty(plain("GET", "/?Action=DescribeRegions&Version=2014-05-26")), (404, "InvalidAction.NotFound")),
        (empty(plain("GET", "/?Action=Id2MetaVerify&Version=2018-01-01")), (400, "InvalidVersion")),
        (empty(plain("POST", "/api").header("x-acs-action", "Id2MetaVerify")), (404, "InvalidAction.NotFound")),
        (empty(plain("POST", "/").header("authorization", "ACS3-HMAC-SHA256 nonsense")), (400, "MissingAction")),
        (plain("POST", "/").header("content-type", form).body(long.clone()).unwrap(), (200, "401")),
        (plain("POST", "/api").header("content-type", form).body(v1.into()).unwrap(), (404, "InvalidAction.NotFound")),
        (empty(plain("POST", "/idcard")), (405, "I405UM")),
        (empty(plain("GET", "/idcard/")), (404, "I404NF")),
        (empty(plain("GET", "/idcard")), (400, "A400MA")),
        (empty(plain("GET", "/idcard").header("authorization", "APPCODE")), (400, "A400MA")),
        (empty(plain("GET", "/idcards").header("authorization", "APPCODE x")), (404, "I404NF")),
        (empty(plain("GET", "/idenAuthentication")), (405, "I405UM")),
        (plain("POST", "/idenAuthentication").body(long).unwrap(), (413, "I413RL")),
        (empty(plain("GET", &format!("/idcard?{}", "a".repeat(17_000)))), (413, "I413UL")),
    ] {
        let shown = format!("{} {}", request.method(), request.uri().path());
        let answer = send(&gateway, request).await;
        assert_eq!(answer.said(), (said.0, said.1.to_owned()), "{shown}: {answer:?}");
        assert_ne!(answer.header("content-type"), "application/problem+json", "{shown}");
    }
    // A request of no known protocol gets our own answer.
    let other = send(&gateway, empty(plain("GET", "/favicon.ico"))).await;
    assert_eq!((other.status(), other.header("content-type")), (404, "application/problem+json"));
    let form = plain("POST", "/login").header("content-type", form).body("user=x&password=y".into()).unwrap();
    let other = send(&gateway, form).await;
    assert_eq!((other.status(), other.header("content-type")), (404, "application/problem+json"));
}

#[tokio::test]
async fn a_v1_caller_who_wants_xml_gets_xml() {
    let gateway = steady().start().await;
    let query = format!("/?Action=Id2MetaVerify&Version=2019-03-07&AccessKeyId={ACCESS_KEY}");
    let request = http::Request::get(format!("http://{}{query}", gateway.public)).header("accept", "*/*");
    let answer = send(&gateway, request.body(bytes::Bytes::new()).unwrap()).await;
    assert_eq!(answer.header("content-type"), "text/xml;charset=utf-8");
    assert!(answer.text().contains("<Code>MissingTimestamp</Code>"), "{answer:?}");
}

#[tokio::test]
async fn too_many_at_once_are_shed_in_the_protocols_words() {
    let gateway = steady().chain(&["aliyun"]).over("[server]\nmax_in_flight = 1").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let pair = anybody();
    let asking = Speaker::new("aliyun", 0);
    let waiting = asking.ask(&gateway, &pair);
    let shed = async {
        eventually("one is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
        for speaker in one_of_each() {
            let answer = speaker.ask(&gateway, &right()).await;
            assert_eq!(answer.said(), speaker.says("busy"), "{}: {answer:?}", speaker.label());
        }
    };
    tokio::select! {
        _ = waiting => panic!("it hangs"),
        () = shed => {}
    }
}
