//! Identical requests share one call: a thousand concurrent callers, callers that disconnect, callers that do not
//! wait.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{NO_CACHE, in_short, unhurried, until, until_quiet};
use crate::support::{Pair, TestGateway, anybody};

const MANY: usize = 1_000;

/// Connections opened in advance, so that the requests really are concurrent.
async fn crowd(gateway: &TestGateway) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        streams.push(TcpStream::connect(gateway.public).await.expect("the gateway accepts"));
    }
    streams
}

async fn all_ask(crowd: &mut [TcpStream], pair: &Pair) {
    let body = pair.body().to_string();
    let head = "POST /v1/verify HTTP/1.1\r\nhost: idgate\r\nconnection: close\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for stream in crowd {
        stream.write_all(request.as_bytes()).await.expect("the gateway reads");
    }
}

async fn answer(mut stream: TcpStream) -> Value {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
    serde_json::from_str(body).expect("a JSON body")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_identical_questions_at_once_make_one_call_and_get_one_verdict() {
    let gateway = unhurried(TestGateway::new()).start().await;
    // Long enough for the slowest machine to read a thousand requests before the provider answers.
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "4s"}"#);
    let pair = anybody();
    let mut crowd = crowd(&gateway).await;
    all_ask(&mut crowd, &pair).await;
    let answers = join_all(crowd.into_iter().map(answer)).await;

    let of = |source: &str| answers.iter().filter(|answer| answer["provenance"]["source"] == source).count();
    assert_eq!((of("provider"), of("shared")), (1, MANY - 1));
    assert!(answers.iter().all(|answer| answer["verdict"] == "match" && answer["provenance"]["provider"] == "aliyun"));
    let reference = &answers[0]["provenance"]["provider_request_id"];
    assert!(answers.iter().all(|answer| answer["provenance"]["provider_request_id"] == *reference));
    // The sum of the reported attempts counts the call exactly one time.
    let attempts = |answer: &Value| answer["provenance"]["attempts"].as_array().map_or(0, Vec::len);
    assert_eq!(answers.iter().map(attempts).sum::<usize>(), 1);
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
    assert_eq!(gateway.metric("idgate_calls_avoided_total", &[("reason", "shared")]).await, (MANY - 1) as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_s12_a_thousand_callers_who_are_cut_off_leave_one_call_and_a_remembered_verdict() {
    let gateway = unhurried(TestGateway::new()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let mut crowd = crowd(&gateway).await;
    all_ask(&mut crowd, &pair).await;
    until("the call is made", async || gateway.sandbox.calls("aliyun") > 0).await;
    drop(crowd);
    until_quiet(&gateway).await;
    let next = gateway.ask(&pair).await;
    assert_eq!(in_short(&next), "aliyun match (cache)");
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
    assert_eq!(gateway.sandbox.verdicts("aliyun"), 1);
}

#[tokio::test]
async fn s06_a_leader_who_leaves_at_once_takes_nobody_with_him() {
    let gateway = unhurried(TestGateway::new()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    {
        let leader = gateway.ask(&pair);
        tokio::pin!(leader);
        tokio::select! {
            reply = &mut leader => panic!("too early: {reply:?}"),
            () = until("the call is made", async || gateway.sandbox.calls("aliyun") > 0) => {}
        }
    }
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (shared)");
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
}

#[tokio::test]
async fn whoever_waits_one_second_for_an_upstream_of_three_is_told_so_and_the_call_is_made_once() {
    let gateway = unhurried(TestGateway::new()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "3s"}"#);
    let pair = anybody();
    let began = Instant::now();
    let impatient = gateway.ask_with(&pair, &[("prefer", "wait=1")]).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(in_short(&impatient), "504 outcome_unknown");
    assert_eq!(impatient.attempts(), ["aliyun=timeout(unknown)"]);
    assert_eq!(impatient.body["may_have_been_billed"], true);
    assert_eq!(impatient.body["retryable"], true);
    assert_eq!(impatient.header("retry-after"), "1");
    assert_eq!(impatient.header("preference-applied"), "wait=1");

    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (shared)");
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
}

#[tokio::test]
async fn when_our_own_limit_is_over_the_call_goes_on_and_its_verdict_is_remembered() {
    let gateway = unhurried(TestGateway::new()).over("[server]\nrequest_timeout = \"200ms\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
    until_quiet(&gateway).await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
}

#[tokio::test]
async fn who_waits_for_nothing_hears_that_it_may_be_billed_all_the_same() {
    let gateway = unhurried(TestGateway::new()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let reply = gateway.ask_with(&pair, &[("prefer", "wait=0")]).await;
    assert_eq!(in_short(&reply), "504 outcome_unknown");
    assert_eq!(reply.body["may_have_been_billed"], true);
    until_quiet(&gateway).await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
}

#[tokio::test]
async fn s11_a_caller_who_wants_no_cached_answer_still_joins_a_call_in_flight() {
    let gateway = unhurried(TestGateway::new()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let (first, second) = tokio::join!(gateway.ask(&pair), async {
        until("the call is made", async || gateway.sandbox.calls("aliyun") > 0).await;
        gateway.ask_with(&pair, NO_CACHE).await
    });
    assert_eq!((first.source(), second.source()), ("provider", "shared"));
    assert_eq!(second.header("cache-status"), "idgate; fwd=miss; collapsed");
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 1);
}

#[tokio::test]
async fn who_shares_a_failed_flight_hears_of_the_failure_and_the_next_question_starts_anew() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).over("[server]\nrequest_timeout = \"60s\"");
    let gateway =
        gateway.over(super::attempt_timeout("aliyun", "800ms")).over("[providers.aliyun]\ncall_limit = \"1s\"");
    let gateway = gateway.over("[cache]\nunknown_ttl = \"0s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let pair = anybody();
    let (first, second) = tokio::join!(gateway.ask(&pair), async {
        until("the call is made", async || gateway.sandbox.calls("aliyun") > 0).await;
        gateway.ask(&pair).await
    });
    assert_eq!((in_short(&first), in_short(&second)), ("504 outcome_unknown".into(), "504 outcome_unknown".into()));
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    gateway.mend("aliyun");
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (provider)");
}
