//! What a client may request and what it is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use idgate::domain::clock::Clock;

use super::{LogFile, assert_problem, assert_says_when, bearer, client, errors};
use crate::support::{TIMELESS, TestGateway, anybody};

const KEY: &str = "idg_synthetic-key";

/// A clock and the seconds by which a test moves it.
fn movable(start: &str) -> (Clock, Arc<AtomicI64>) {
    let (start, moved) = (start.parse::<jiff::Timestamp>().unwrap(), Arc::new(AtomicI64::new(0)));
    let shift = Arc::clone(&moved);
    (Clock::new(move || start + jiff::SignedDuration::from_secs(shift.load(Ordering::SeqCst))), moved)
}

#[tokio::test]
async fn a_client_without_the_right_cannot_force_a_call_whatever_it_sends() {
    let log = LogFile::new();
    let section = client("modest", KEY, "no_cache = false");
    let gateway = TestGateway::new().chain(&["aliyun"]).over(section).access_log(log.log.clone()).start().await;
    let pair = anybody();
    let ask = async |more: &[(&str, &str)]| {
        gateway.ask_with(&pair, &[&[("authorization", &*bearer(KEY))][..], more].concat()).await
    };
    assert_eq!(ask(&[]).await.source(), "provider");
    let demands = ["no-cache", "No-Cache", "max-age=0", "max-age=86399", "max-age=00", "foo, no-cache=x"];
    for demand in demands {
        for key in [&[][..], &[("idempotency-key", "k-1")]] {
            let reply = ask(&[&[("cache-control", demand)][..], key].concat()).await;
            assert_problem(&reply, 403, "forbidden");
            assert_eq!(errors(&reply), [(String::new(), "no_cache".to_owned())], "{demand}");
            assert!(reply.body["errors"][0]["detail"].as_str().unwrap().contains("below 86400 seconds"));
        }
    }
    for harmless in ["max-age=86400", "max-age=99999999999999999999", "no-store", "max-age=0, only-if-cached"] {
        assert_ne!(ask(&[("cache-control", harmless)]).await.status, 403, "{harmless}");
    }
    assert_eq!((ask(&[("pragma", "no-cache")]).await.source(), gateway.sandbox.calls("aliyun")), ("cache", 1));
    let refused = [("status", "403"), ("client", "modest"), ("purpose", "default")];
    assert_eq!(gateway.metric("idgate_requests_total", &refused).await, 2.0 * demands.len() as f64);
    let line = log.lines().into_iter().find(|line| line["status"] == 403).expect("it is logged");
    assert_eq!(
        (&line["code"], &line["reason"], &line["key_id"]),
        (&"forbidden".into(), &"no_cache".into(), &"modest-1".into())
    );
}

#[tokio::test]
async fn no_client_is_given_an_older_answer_than_it_may_have_by_memory_or_by_replay() {
    let sections = client("payout", KEY, "longest_max_age = \"60s\"") + &client("other", "idg_synthetic-other", "");
    let (clock, moved) = movable("2026-11-25T08:00:00Z");
    let gateway = TestGateway::new().chain(&[TIMELESS]).over(sections).clock(clock).start().await;
    let pair = anybody();
    let ask = async |key: &str, more: &[(&str, &str)]| {
        gateway.ask_with(&pair, &[&[("authorization", &*bearer(key))][..], more].concat()).await
    };
    let replay = [("idempotency-key", "k-1")];
    assert_eq!(ask(KEY, &replay).await.source(), "provider");
    moved.store(60, Ordering::SeqCst);
    assert_eq!(
        (ask(KEY, &[]).await.source(), ask(KEY, &replay).await.header("idempotency-replayed")),
        ("cache", "true")
    );
    moved.store(61, Ordering::SeqCst);
    assert_eq!(ask("idg_synthetic-other", &[]).await.source(), "cache", "for others it is still good");
    let all = "max-age=3600, only-if-cached";
    assert_problem(&ask(KEY, &[("cache-control", all)]).await, 504, "not_cached");
    let again = ask(KEY, &[&replay[..], &[("cache-control", "max-age=3600")]].concat()).await;
    assert_eq!((again.source(), again.header("idempotency-replayed")), ("provider", ""));
    // The key now replays the new answer.
    let replayed = ask(KEY, &replay).await;
    assert_eq!((replayed.header("idempotency-replayed"), gateway.sandbox.calls(TIMELESS)), ("true", 2));
    assert_eq!(replayed.body["verification_id"], again.body["verification_id"]);
    // A smaller `max-age` from the client itself still applies.
    moved.store(70, Ordering::SeqCst);
    assert_eq!(ask(KEY, &[("cache-control", "max-age=5")]).await.source(), "provider");
}

#[tokio::test]
async fn what_a_number_tells_is_for_those_who_may_have_it() {
    let sections = client("modest", KEY, "include_person = false") + &client("other", "idg_synthetic-other", "");
    let gateway = TestGateway::new().over(sections).start().await;
    let mut body = anybody().body();
    body["include_person"] = true.into();
    let ask = async |key: &str, body: &serde_json::Value| {
        gateway.post(body.to_string(), &[("authorization", &*bearer(key)), ("idempotency-key", "k-1")]).await
    };
    assert!(ask("idg_synthetic-other", &body).await.body["person"].is_object());
    let refused = ask(KEY, &body).await;
    assert_problem(&refused, 403, "forbidden");
    assert_eq!(errors(&refused), [("/include_person".to_owned(), "include_person".to_owned())]);
    body["include_person"] = false.into();
    let reply = ask(KEY, &body).await;
    assert!(reply.status == 200 && reply.body.get("person").is_none(), "{reply:?}");
}

#[tokio::test]
async fn a_day_has_so_many_questions_and_only_those_that_pass_the_local_rules() {
    let log = LogFile::new();
    let sections = client("small", KEY, "daily_cap = 2") + &client("other", "idg_synthetic-other", "");
    let (clock, moved) = movable("2026-11-25T15:58:00Z");
    let start = TestGateway::new().chain(&[TIMELESS]).over(sections).clock(clock).access_log(log.log.clone());
    let gateway = start.start().await;
    let ask = async |key: &str, body: String| gateway.post(body, &[("authorization", &bearer(key))]).await;
    let pair = anybody();
    for _ in 0..5 {
        let invalid = ask(KEY, r#"{"name": "张三", "id_number": "110105194912310021"}"#.to_owned()).await;
        assert_problem(&invalid, 422, "invalid_id_number");
    }
    assert_eq!(ask(KEY, pair.body().to_string()).await.source(), "provider");
    assert_eq!(ask(KEY, pair.body().to_string()).await.source(), "cache", "memory counts as well");
    let refused = ask(KEY, pair.body().to_string()).await;
    assert_problem(&refused, 429, "rate_limited");
    assert_says_when(&refused);
    assert_eq!((errors(&refused)[0].1.as_str(), refused.header("retry-after")), ("daily_cap", "120"));
    assert_eq!(log.lines().last().unwrap()["reason"], "daily_cap");
    assert_eq!(ask("idg_synthetic-other", pair.body().to_string()).await.verdict(), "match");
    moved.store(120, Ordering::SeqCst);
    assert_eq!(ask(KEY, pair.body().to_string()).await.verdict(), "match", "it is midnight in China");
}

#[tokio::test]
async fn whoever_watches_sees_when_keys_end() {
    let ends = client("payout", KEY, "").replace(" }]", ", expires = \"2030-01-01T00:00:00Z\" }]");
    let gateway = TestGateway::new().over(ends + &client("other", "idg_synthetic-other", "")).start().await;
    let family = "idgate_client_key_expiry_timestamp_seconds";
    let at = gateway.metric(family, &[("client", "payout"), ("key_id", "payout-1")]).await;
    assert_eq!(at, 1_893_456_000.0);
    assert_eq!(gateway.metric(family, &[]).await, at, "a key without an end is not shown");
}
