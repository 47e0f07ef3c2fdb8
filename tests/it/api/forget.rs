//! Forgetting a person erases cached verdicts, holds, counted attempts and idempotency replays, and covers calls in
//! flight.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::{LogFile, assert_problem, bearer, client, errors, eventually};
use crate::support::{Pair, Reply, TestGateway, anybody};

const ONLY_IF_CACHED: &[(&str, &str)] = &[("cache-control", "only-if-cached")];

async fn post(gateway: &TestGateway, body: impl Into<reqwest::Body>, kind: &str) -> Reply {
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let request = gateway.http.post(url).header("content-type", kind).header("x-request-id", "erase-1").body(body);
    Reply::of(request.send().await.unwrap()).await
}

/// Forgets the pair and returns how many verdicts, holds, tries, replays and calls in flight were forgotten.
async fn forget(gateway: &TestGateway, pair: &Pair) -> [u64; 5] {
    let reply = post(gateway, pair.body().to_string(), "application/json").await;
    assert_eq!((reply.status, reply.header("x-request-id")), (StatusCode::OK, "erase-1"), "{reply:?}");
    let members = reply.body.as_object().unwrap();
    let forgotten = members["forgotten"].as_object().unwrap();
    assert_eq!((members.len(), forgotten.len()), (1, 5), "counts and nothing else");
    ["verdicts", "holds", "tries", "replays", "under_way"].map(|kind| forgotten[kind].as_u64().unwrap())
}

#[tokio::test]
async fn everything_about_one_person_goes_and_nothing_about_another() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let (one, other) = (anybody(), anybody());
    let key = [("idempotency-key", "k-1")];
    let first = gateway.ask_with(&one, &key).await;
    gateway.ask_with(&other, &[("idempotency-key", "k-2")]).await;
    assert_eq!(forget(&gateway, &one).await, [1, 1, 1, 1, 0]);
    assert_eq!(forget(&gateway, &one).await, [0; 5], "there is nothing left");
    assert_eq!(gateway.ask_with(&other, ONLY_IF_CACHED).await.verdict(), "match");
    assert_eq!(gateway.ask_with(&other, &[("idempotency-key", "k-2")]).await.header("idempotency-replayed"), "true");
    let again = gateway.ask_with(&one, &key).await;
    assert_eq!((again.source(), again.header("idempotency-replayed")), ("provider", ""));
    assert_ne!(again.body["verification_id"], first.body["verification_id"]);
}

#[tokio::test]
async fn every_clients_and_every_purposes_memory_of_a_person_goes() {
    let more = "purposes = [\"default\", \"payout\", \"plain\"]";
    let toml = client("one", "idg_synthetic-a", more)
        + &client("two", "idg_synthetic-b", more)
        + "[purposes.payout]\norder = [\"yunyi\"]\n[purposes.plain]\n[cache]\nsharing = \"per_client\"";
    let gateway = TestGateway::new().chain(&["aliyun"]).over(toml).start().await;
    let pair = anybody();
    let ask = async |key: &str, purpose: &str, more: &[(&str, &str)]| {
        let mut body = pair.body();
        body["purpose"] = purpose.into();
        gateway.post(body.to_string(), &[&[("authorization", &*bearer(key))][..], more].concat()).await
    };
    for key in ["idg_synthetic-a", "idg_synthetic-b"] {
        for purpose in ["default", "payout", "plain"] {
            assert_eq!(ask(key, purpose, &[]).await.verdict(), "match");
        }
    }
    // A purpose without its own policy shares verdicts; two providers were asked; each client has one counted try.
    assert_eq!(forget(&gateway, &pair).await, [4, 2, 2, 0, 0]);
    for purpose in ["default", "payout"] {
        assert_eq!(ask("idg_synthetic-a", purpose, ONLY_IF_CACHED).await.code(), "not_cached");
    }
}

#[tokio::test]
async fn a_forgotten_hold_and_forgotten_tries_let_the_person_be_asked_about_again() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "subject_throttled", "times": 1}"#);
    assert_problem(&gateway.ask(&pair).await, 429, "subject_throttled");
    assert_problem(&gateway.ask(&pair).await, 429, "subject_throttled");
    assert_eq!((gateway.status_of("aliyun").await["holds"].as_u64(), gateway.sandbox.calls("aliyun")), (Some(1), 1));
    assert_eq!(forget(&gateway, &pair).await, [0, 1, 1, 0, 0]);
    assert_eq!(gateway.status_of("aliyun").await["holds"], 0);
    assert_eq!(gateway.ask(&pair).await.verdict(), "match");
    for n in 0..10 {
        let name = format!("张{}", char::from_u32(0x4e00 + n).unwrap());
        gateway.ask(&Pair::new(&name, &pair.id_number)).await;
    }
    assert_problem(&gateway.ask(&Pair::new("李四", &pair.id_number)).await, 429, "enumeration_suspected");
    // The tries with other names concerned the same number.
    let [verdicts, holds, tries, ..] = forget(&gateway, &pair).await;
    assert_eq!((verdicts, holds, tries), (1, 1, 5));
    assert_eq!(gateway.ask(&Pair::new("李四", &pair.id_number)).await.status, 200);
}

#[tokio::test]
async fn a_call_under_way_answers_those_who_wait_and_is_not_remembered() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "500ms", "times": 1}"#);
    let key = [("idempotency-key", "k-1")];
    let (reply, forgotten) = tokio::join!(gateway.ask_with(&pair, &key), async {
        eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
        forget(&gateway, &pair).await
    });
    assert_eq!((reply.verdict(), forgotten), ("match", [0, 1, 1, 1, 1]));
    assert_eq!(gateway.ask_with(&pair, ONLY_IF_CACHED).await.code(), "not_cached");
    assert_eq!(gateway.metric("idgate_cache_entries", &[]).await, 0.0);
    // Only the try that the request just above counted is left; the idempotency key is gone.
    assert_eq!(forget(&gateway, &pair).await, [0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn a_late_answer_about_a_forgotten_person_is_not_remembered() {
    let impatient = "[providers.aliyun]\nconnect_timeout = \"50ms\"\nattempt_timeout = \"50ms\"";
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).over(impatient).start().await;
    let pair = anybody();
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "600ms", "times": 1}"#);
    assert_eq!(gateway.ask(&pair).await.provider(), "yunyi");
    // The chain already has its answer; the first call continues in a detached task.
    assert_eq!(forget(&gateway, &pair).await, [1, 2, 1, 0, 1]);
    eventually("the late call has ended", async || gateway.status_of("aliyun").await["in_flight"] == 0).await;
    eventually("so has the work", async || forget(&gateway, &pair).await == [0; 5]).await;
    assert_eq!(gateway.ask_with(&pair, ONLY_IF_CACHED).await.code(), "not_cached");
}

#[tokio::test]
async fn what_a_forgotten_persons_flight_does_afterwards_leaves_no_trace_at_a_provider() {
    let impatient =
        "[providers.yunyi]\nconnect_timeout = \"400ms\"\nattempt_timeout = \"400ms\"\ncall_limit = \"800ms\"";
    let gateway = TestGateway::new().chain(&["yunyi", "aliyun"]).over(impatient).start().await;
    let pair = anybody();
    gateway.fault("yunyi", r#"{"kind": "hang", "times": 1}"#);
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "subject_throttled", "times": 1}"#);
    let (_reply, forgotten) = tokio::join!(gateway.ask(&pair), async {
        eventually("the call is under way", async || gateway.sandbox.calls("yunyi") == 1).await;
        forget(&gateway, &pair).await
    });
    assert_eq!((forgotten, gateway.sandbox.calls("aliyun")), ([0, 1, 1, 0, 1], 1));
    assert_eq!(gateway.status_of("aliyun").await["holds"], 0, "its refusal came after the person was forgotten");
    eventually("the work has ended", async || forget(&gateway, &pair).await == [0; 5]).await;
}

#[tokio::test]
async fn it_takes_a_name_and_a_number_by_the_same_rules_and_nothing_else() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let known = Pair::new("张三", "11010519491231002X");
    gateway.ask(&known).await;
    let mistakes = async |body: Value| {
        let reply = post(&gateway, body.to_string(), "application/json").await;
        (reply.status.as_u16(), reply.code().to_owned(), errors(&reply))
    };
    let mistake = |pointer: &str, reason: &str| vec![(pointer.to_owned(), reason.to_owned())];
    let mut more = known.body();
    more["purpose"] = "default".into();
    let malformed = |errors| (400, "malformed_request".to_owned(), errors);
    assert_eq!(mistakes(more).await, malformed(mistake("/purpose", "unknown_member")));
    assert_eq!(mistakes(json!({"name": "张三"})).await, malformed(mistake("/id_number", "missing_member")));
    assert_eq!(mistakes(json!([])).await, malformed(mistake("", "not_an_object")));
    let invalid = mistakes(json!({"name": "张三", "id_number": "110105194912310021"})).await;
    assert_eq!(invalid, (422, "invalid_id_number".to_owned(), mistake("/id_number", "bad_checksum")));
    assert_eq!(mistakes(json!({"name": "", "id_number": known.id_number})).await.1, "invalid_name");
    assert_problem(&post(&gateway, known.body().to_string(), "text/plain").await, 415, "unsupported_media_type");
    assert_problem(&post(&gateway, " ".repeat(20_000), "application/json").await, 413, "payload_too_large");
    assert_eq!(gateway.admin_get("/v1/subjects/forget").await.0, 405);
    // Malformed requests forgot nobody, and a different spelling finds the same person.
    assert_eq!(forget(&gateway, &Pair::new(" 张三 ", "11010519491231002x")).await, [1, 1, 1, 0, 0]);
    let public = format!("http://{}/v1/subjects/forget", gateway.public);
    assert_eq!(gateway.http.post(public).body("{}").send().await.unwrap().status(), 404, "services cannot");
    assert_eq!(gateway.metric("idgate_calls_avoided_total", &[("reason", "invalid_input")]).await, 0.0);
}

#[tokio::test]
async fn people_who_are_forgotten_while_they_are_asked_about_leave_nothing() {
    let log = LogFile::new();
    let gateway = TestGateway::new().chain(&["aliyun"]).access_log(log.log.clone()).start().await;
    let people: Vec<_> = (0..40).map(|_| anybody()).collect();
    let at_once = people.iter().map(async |pair| {
        tokio::join!(gateway.ask(pair), forget(&gateway, pair));
        forget(&gateway, pair).await;
        gateway.ask_with(pair, ONLY_IF_CACHED).await.code().to_owned()
    });
    for code in join_all(at_once).await {
        assert_eq!(code, "not_cached");
    }
    // The cache counts its entries when it next cleans up, which a question makes it do.
    eventually("the cache is empty", async || {
        gateway.ask_with(&people[0], ONLY_IF_CACHED).await;
        gateway.metric("idgate_cache_entries", &[]).await == 0.0
    })
    .await;
    for pair in &people {
        assert!(!log.text().contains(&pair.id_number));
    }
}
