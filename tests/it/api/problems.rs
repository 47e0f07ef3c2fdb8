//! Provokes every error code of the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idgate::domain::clock::{Clock, Ids};
use uuid::Uuid;

use super::{LogFile, Raw, assert_problem, assert_says_when, bearer, client, errors, eventually};
use crate::support::{Pair, Reply, TestGateway, anybody};

const FOREIGNER: (&str, &str) = ("SAMPLE, TEST ANN", "911840199001019987");

/// Panics on the first use after each arming, with a message that must not leak.
#[derive(Clone, Default)]
struct Trap(Arc<AtomicBool>);

impl Trap {
    fn arm(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn step(&self) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "a defect that knows 11010519491231002X");
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_routed_is_answered_with_its_own_code() {
    let gateway = TestGateway::new().start().await;
    let pair = anybody();
    let post = |body: String, headers: Vec<(&'static str, &'static str)>| {
        let gateway = &gateway;
        async move { gateway.post(body, &headers).await }
    };
    assert_problem(&post("{".to_owned(), vec![]).await, 400, "malformed_request");
    assert_problem(&post(pair.body().to_string(), vec![("accept", "text/html")]).await, 406, "not_acceptable");
    assert_problem(&post("x".repeat(20_000), vec![]).await, 413, "payload_too_large");
    let url = |path: &str| format!("http://{}{path}", gateway.public);
    let plain = gateway.http.post(url("/v1/verify")).body(pair.body().to_string()).send().await.unwrap();
    assert_problem(&Reply::of(plain).await, 415, "unsupported_media_type");
    for path in ["/?name=x", "/v1/verify/", "/v1/other?name=x", "/livez", "/metrics", "/v1/status"] {
        let reply = Reply::of(gateway.http.get(url(path)).send().await.unwrap()).await;
        assert_problem(&reply, 404, "not_found");
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let method = method.parse().unwrap();
        let reply = Reply::of(gateway.http.request(method, url("/v1/verify")).send().await.unwrap()).await;
        assert_problem(&reply, 405, "method_not_allowed");
        assert_eq!(reply.header("allow"), "POST");
    }
    let long = gateway.ask_with(&pair, &[("x-padding", &"a".repeat(20_000))]).await;
    assert_problem(&long, 431, "headers_too_large");
    let long = gateway.http.get(url(&format!("/{}", "a".repeat(20_000)))).send().await.unwrap();
    assert_problem(&Reply::of(long).await, 431, "headers_too_large");
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}

#[tokio::test]
async fn operators_get_problems_of_the_same_form() {
    let gateway = TestGateway::new().start().await;
    let url = |path: &str| format!("http://{}{path}", gateway.admin);
    let get = async |path: &str| Reply::of(gateway.http.get(url(path)).send().await.unwrap()).await;
    let post = async |path: &str| Reply::of(gateway.http.post(url(path)).send().await.unwrap()).await;
    assert_problem(&get("/nothing").await, 404, "not_found");
    assert_problem(&post("/livez").await, 405, "method_not_allowed");
    assert_problem(&get("/v1/providers/aliyun/isolate").await, 405, "method_not_allowed");
    assert_problem(&post("/v1/providers/nobody/isolate").await, 404, "not_found");
    assert_problem(&post("/v1/providers/%ff/restore").await, 404, "not_found");
    assert_problem(&get(&format!("/{}", "a".repeat(20_000))).await, 431, "headers_too_large");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_408_and_the_connection_ends() {
    let gateway = TestGateway::new().over("[server]\nbody_timeout = \"200ms\"").start().await;
    let mut raw = Raw::to(&gateway).await;
    raw.say("POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{")
        .await;
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"request_timeout\""), "{answer}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
}

#[tokio::test]
async fn callers_without_key_purpose_or_rate_are_refused_each_in_its_way() {
    let section = client("payout", "idg_synthetic-one", "purposes = [\"withdrawal\"]\nrate_limit = 1\nburst = 2");
    let gateway = TestGateway::new().over(section).start().await;
    let pair = anybody();
    let refused = gateway.ask(&pair).await;
    assert_problem(&refused, 401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"idgate\"");
    let key = bearer("idg_synthetic-one");
    let mut body = pair.body();
    body["purpose"] = "marketing".into();
    let forbidden = gateway.post(body.to_string(), &[("authorization", &key)]).await;
    assert_problem(&forbidden, 403, "forbidden");
    assert_eq!(errors(&forbidden), [("/purpose".to_owned(), "not_allowed".to_owned())]);
    assert_eq!(gateway.ask_with(&pair, &[("authorization", &key)]).await.verdict(), "match");
    // The limit refills by one a second, so a burst exceeds it even on a slow machine.
    let mut limited = None;
    for _ in 0..1000 {
        let reply = gateway.ask_with(&pair, &[("authorization", &key)]).await;
        if reply.status != 200 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("a thousand requests are more than one a second");
    assert_problem(&limited, 429, "rate_limited");
    assert_says_when(&limited);
    assert_eq!(limited.header("ratelimit"), "\"client\";r=0;t=2");
}

#[tokio::test]
async fn what_our_rules_or_all_providers_refuse_is_answered_422_or_429() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let number = gateway.ask(&Pair::new("张三", "110105194912310021")).await;
    assert_problem(&number, 422, "invalid_id_number");
    assert_eq!(errors(&number), [("/id_number".to_owned(), "bad_checksum".to_owned())]);
    let name = gateway.ask(&Pair::new("张\u{0}三", "11010519491231002X")).await;
    assert_problem(&name, 422, "invalid_name");
    assert_eq!(errors(&name)[0].0, "/name");
    let kind = gateway.ask(&Pair::new(FOREIGNER.0, FOREIGNER.1)).await;
    assert_problem(&kind, 422, "unsupported_document");
    assert_eq!(kind.body["may_have_been_billed"], false);
    assert_eq!(gateway.sandbox.calls("aliyun"), 0, "all of that was free");

    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "input_refused"}"#);
    let rejected = gateway.ask(&anybody()).await;
    assert_problem(&rejected, 422, "rejected_by_provider");
    assert_eq!(rejected.attempts(), ["aliyun=input_refused(no)"]);
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "subject_throttled"}"#);
    let throttled = gateway.ask(&anybody()).await;
    assert_problem(&throttled, 429, "subject_throttled");
    assert_says_when(&throttled);
}

#[tokio::test]
async fn failing_and_missing_providers_are_told_apart() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500}"#);
    let failed = gateway.ask(&anybody()).await;
    assert_problem(&failed, 502, "provider_failure");
    assert_eq!((&failed.body["retryable"], &failed.body["may_have_been_billed"]), (&true.into(), &true.into()));
    assert!(failed.body["verification_id"].is_string(), "its call can be looked up: {failed:?}");
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "account_fault"}"#);
    gateway.ask(&anybody()).await;
    let nobody = gateway.ask(&anybody()).await;
    assert_problem(&nobody, 503, "no_provider_available");
    assert_says_when(&nobody);
    assert_eq!(nobody.attempts(), ["aliyun=skipped_open(no)"]);
    assert_eq!(nobody.body["verification_id"], serde_json::Value::Null, "no call was begun");
    let not_cached = gateway.ask_with(&anybody(), &[("cache-control", "only-if-cached")]).await;
    assert_problem(&not_cached, 504, "not_cached");
}

#[tokio::test]
async fn an_unknown_outcome_a_full_house_and_a_key_at_work_say_when_to_come_back() {
    let gateway = TestGateway::new().chain(&["aliyun"]).over("[server]\nmax_in_flight = 2").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let pair = anybody();
    let unknown = gateway.ask_with(&pair, &[("prefer", "wait=0")]).await;
    assert_problem(&unknown, 504, "outcome_unknown");
    assert_says_when(&unknown);
    assert_eq!(unknown.body["may_have_been_billed"], true);
    assert!(unknown.body["verification_id"].is_string(), "what becomes of it can be looked up: {unknown:?}");

    let waiting = async { gateway.ask_with(&pair, &[("idempotency-key", "k-1")]).await };
    let others = async {
        let busy = "the first request waits under its key";
        eventually(busy, async || gateway.sandbox.calls("aliyun") == 1).await;
        let mut at_work = gateway.ask_with(&pair, &[("idempotency-key", "k-1"), ("prefer", "wait=0")]).await;
        // Until the first request has claimed the key, this one may briefly claim it.
        while at_work.code() == "outcome_unknown" {
            at_work = gateway.ask_with(&pair, &[("idempotency-key", "k-1"), ("prefer", "wait=0")]).await;
        }
        assert_problem(&at_work, 409, "idempotency_in_progress");
        assert_says_when(&at_work);
        let reused = gateway.ask_with(&anybody(), &[("idempotency-key", "k-1")]).await;
        assert_problem(&reused, 422, "idempotency_key_reused");

        let second = async { gateway.ask(&anybody()).await };
        let third = async {
            eventually("the second place is taken", async || gateway.sandbox.calls("aliyun") == 2).await;
            let full = gateway.ask(&anybody()).await;
            assert_problem(&full, 503, "overloaded");
            assert_says_when(&full);
        };
        tokio::select! { reply = second => panic!("it hangs: {reply:?}"), () = third => {} }
    };
    tokio::select! { reply = waiting => panic!("it hangs: {reply:?}"), () = others => {} }
}

#[tokio::test]
async fn whoever_comes_after_the_last_call_is_asked_about_nowhere() {
    let gateway = TestGateway::new().chain(&["aliyun"]).over("[server]\ndrain_timeout = \"1s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let body = anybody().body().to_string();
    let (first, rest) = body.split_at(9);
    let mut late = Raw::to(&gateway).await;
    let head = "POST /v1/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length:";
    late.say(&format!("{head} {}\r\n\r\n{first}", body.len())).await;
    let pair = anybody();
    let stop = async {
        eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
        gateway.begin_stop();
    };
    // A waiting caller is answered when the drain deadline passes.
    let (told, ()) = tokio::join!(gateway.ask(&pair), stop);
    assert_problem(&told, 503, "shutting_down");
    late.say(rest).await;
    let answer = late.rest().await;
    assert!(answer.contains("shutting_down") && !answer.contains("may_have_been_billed"), "{answer}");
    assert_eq!(gateway.sandbox.calls("aliyun"), 1, "nothing new was begun");
    assert!(!gateway.stop().await);
}

#[tokio::test]
async fn who_still_waits_when_the_process_goes_down_is_told_so() {
    let gateway = TestGateway::new().chain(&["aliyun"]).over("[server]\ndrain_timeout = \"1s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let pair = anybody();
    let stop = async {
        eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
        gateway.begin_stop();
    };
    let (reply, ()) = tokio::join!(gateway.ask(&pair), stop);
    assert_problem(&reply, 503, "shutting_down");
    assert_says_when(&reply);
    assert_eq!(reply.body["may_have_been_billed"], true, "its call is under way");
    assert!(reply.body["verification_id"].is_string(), "and can be looked up: {reply:?}");
    assert_eq!(reply.header("connection"), "close");
    assert!(!gateway.stop().await, "the call that hangs had to be cut");
}

#[tokio::test]
async fn a_defect_is_a_problem_of_ours_and_not_a_dropped_connection() {
    let (trap, log) = (Trap::default(), LogFile::new());
    let time = trap.clone();
    let clock = Clock::new(move || {
        time.step();
        jiff::Timestamp::now()
    });
    let gateway = TestGateway::new().clock(clock).access_log(log.log.clone()).start().await;
    let mut raw = Raw::to(&gateway).await;
    let body = anybody().body().to_string();
    let request = format!(
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\nx-request-id: my-own\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    trap.arm();
    raw.say(&request).await;
    let (status, head, problem) = raw.answer().await;
    assert_eq!((status, &problem["code"], &problem["request_id"]), (500, &"internal".into(), &"my-own".into()));
    assert!(head.contains("x-request-id: my-own\r\n"), "{head}");
    assert!(!problem.to_string().contains("11010519491231002X"));
    raw.say(&request).await;
    assert_eq!(raw.answer().await.0, 200, "the same connection goes on, and nothing is left locked");
    assert_eq!(gateway.metric("idgate_requests_total", &[("status", "500")]).await, 1.0);
    let line = &log.lines()[0];
    assert_eq!((&line["status"], &line["code"]), (&500.into(), &"internal".into()));
    assert!(!log.text().contains("11010519491231002X"));
}

#[tokio::test]
async fn a_defect_outside_of_a_question_is_answered_too() {
    let (trap, log) = (Trap::default(), LogFile::new());
    let chance = trap.clone();
    let ordered = move || {
        chance.step();
        Uuid::now_v7()
    };
    let ids = Ids::new(Uuid::new_v4, ordered);
    let gateway = TestGateway::new().ids(ids).access_log(log.log.clone()).start().await;
    trap.arm();
    assert_problem(&gateway.ask(&anybody()).await, 500, "internal");
    trap.arm();
    let reply = gateway.http.get(format!("http://{}/nothing", gateway.public)).send().await.unwrap();
    assert_problem(&Reply::of(reply).await, 500, "internal");
    trap.arm();
    let reply = gateway.http.get(format!("http://{}/nothing", gateway.admin)).send().await.unwrap();
    assert_problem(&Reply::of(reply).await, 500, "internal");
    let lines = log.lines();
    let kinds: Vec<_> = lines.iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds, ["request", "request", "admin_request"]);
    assert!(lines.iter().all(|line| line["code"] == "internal"), "{lines:?}");
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
}

#[tokio::test]
async fn a_defect_in_a_call_may_have_been_billed_and_leaves_the_question_askable() {
    let trap = Trap::default();
    let chance = trap.clone();
    let nonce = move || {
        chance.step();
        Uuid::new_v4()
    };
    let gateway = TestGateway::new().ids(Ids::new(nonce, Uuid::now_v7)).start().await;
    let pair = anybody();
    trap.arm();
    let reply = gateway.ask(&pair).await;
    assert_problem(&reply, 500, "internal");
    assert_eq!(reply.body["may_have_been_billed"], true, "nobody knows how far it had come");
    assert_eq!(gateway.ask(&pair).await.verdict(), "match");
}
