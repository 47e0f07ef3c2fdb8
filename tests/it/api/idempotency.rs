//! `Idempotency-Key`: one key, one call, one answer.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{assert_problem, bearer, client, errors, eventually};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn the_same_key_and_body_get_the_same_answer_also_with_no_cache() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    let key = [("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")];
    let first = gateway.ask_with(&pair, &key).await;
    assert_eq!((first.verdict(), first.header("idempotency-replayed")), ("match", ""));
    for more in [vec![], vec![("cache-control", "no-cache")], vec![("prefer", "wait=1")]] {
        let again = gateway.ask_with(&pair, &[&key[..], &more].concat()).await;
        assert_eq!(again.body, first.body, "the whole answer, its verification_id above all");
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    assert_eq!(gateway.metric("idgate_calls_avoided_total", &[("reason", "idempotent")]).await, 3.0);
}

#[tokio::test]
async fn the_same_key_with_any_other_body_is_refused() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    let key = [("idempotency-key", "k-1")];
    gateway.ask_with(&pair, &key).await;
    assert_problem(&gateway.ask_with(&anybody(), &key).await, 422, "idempotency_key_reused");
    for (member, value) in [("reference", "order-1".into()), ("include_person", true.into())] {
        let mut body: serde_json::Value = pair.body();
        body[member] = value;
        assert_problem(&gateway.post(body.to_string(), &key).await, 422, "idempotency_key_reused");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
}

#[tokio::test]
async fn two_hundred_at_once_with_one_key_make_one_call_and_get_one_answer() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "200ms"}"#);
    let pair = anybody();
    let ask = || gateway.ask_with(&pair, &[("idempotency-key", "k-1"), ("cache-control", "no-cache")]);
    let replies = join_all((0..200).map(|_| ask())).await;
    let ids: BTreeSet<_> = replies.iter().map(|reply| reply.body["verification_id"].to_string()).collect();
    assert_eq!((ids.len(), gateway.sandbox.calls("aliyun")), (1, 1), "{:?}", replies[0]);
    let replayed = replies.iter().filter(|reply| reply.header("idempotency-replayed") == "true").count();
    assert_eq!(replayed, 199);
}

#[tokio::test]
async fn a_failed_request_gives_the_key_back() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let key = [("idempotency-key", "k-1")];
    let pair = anybody();
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500, "times": 1}"#);
    assert_problem(&gateway.ask_with(&pair, &key).await, 502, "provider_failure");
    assert_eq!(gateway.ask_with(&pair, &key).await.verdict(), "match");
    let invalid = gateway.post("{}", &[("idempotency-key", "k-2")]).await;
    assert_problem(&invalid, 400, "malformed_request");
    assert_eq!(gateway.ask_with(&pair, &[("idempotency-key", "k-2")]).await.verdict(), "match");
}

#[tokio::test]
async fn a_retry_under_the_same_key_is_not_a_second_bill_even_when_it_wants_a_fresh_answer() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    // Fills the cache with an answer that the `no-cache` request below must not use.
    gateway.ask(&pair).await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "400ms"}"#);
    let wanted = [("idempotency-key", "k-1"), ("cache-control", "no-cache")];
    let impatient = gateway.ask_with(&pair, &[&wanted[..], &[("prefer", "wait=0")]].concat()).await;
    assert_problem(&impatient, 504, "outcome_unknown");
    eventually("the late verdict is in memory", async || {
        gateway.metric("idgate_verdicts_total", &[("provider", "aliyun")]).await == 2.0
    })
    .await;
    let retry = gateway.ask_with(&pair, &wanted).await;
    assert_eq!((retry.verdict(), gateway.sandbox.calls("aliyun")), ("match", 2), "the call of the first try answers");
    let another_intent = [("idempotency-key", "k-2"), ("cache-control", "no-cache")];
    gateway.ask_with(&pair, &another_intent).await;
    assert_eq!(gateway.sandbox.calls("aliyun"), 3);
}

#[tokio::test]
async fn the_keys_of_two_clients_have_nothing_to_do_with_each_other() {
    let sections = client("one", "idg_synthetic-a", "") + &client("two", "idg_synthetic-b", "");
    let gateway = TestGateway::new().over(sections).start().await;
    let ask = async |key: &str| {
        gateway.ask_with(&anybody(), &[("authorization", &bearer(key)), ("idempotency-key", "k-1")]).await
    };
    assert_eq!(ask("idg_synthetic-a").await.verdict(), "match");
    assert_eq!(ask("idg_synthetic-b").await.verdict(), "match", "another client's key of the same name is another key");
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused_instead_of_ignored() {
    let gateway = TestGateway::new().start().await;
    for bad in ["", "\"\"", "two words", &"k".repeat(256)] {
        let reply = gateway.ask_with(&anybody(), &[("idempotency-key", bad)]).await;
        assert_problem(&reply, 400, "malformed_request");
        assert_eq!(errors(&reply)[0].1, "bad_idempotency_key", "{bad}");
    }
    let twice = gateway.ask_with(&anybody(), &[("idempotency-key", "a"), ("idempotency-key", "b")]).await;
    assert_problem(&twice, 400, "malformed_request");
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
}
