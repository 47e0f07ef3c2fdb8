//! Verification end to end, over real sockets and real protocols.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

mod breaker;
mod credentials;
mod fairness;
mod flights;
mod guards;
mod instances;
mod keys;
mod late;
mod memory;
mod outbound;
mod outcomes;
mod repeated;
mod unanswered;
mod verdicts;

#[tokio::test]
async fn a_question_travels_through_a_real_protocol_and_is_remembered() {
    let gateway = unhurried(TestGateway::new()).start().await;
    let right = Pair::new("张三", "11010519491231002X");
    let first = gateway.ask(&right).await;
    assert_eq!((first.verdict(), first.source(), first.provider()), ("match", "provider", "aliyun"));
    assert_eq!(first.attempts(), ["aliyun=verdict(yes)"]);
    let again = gateway.ask(&right).await;
    assert_eq!((again.verdict(), again.source(), again.attempts().len()), ("match", "cache", 0));
    assert_eq!(gateway.ask(&Pair::new("李四", &right.id_number)).await.verdict(), "mismatch");
    assert_eq!(gateway.sandbox.calls("aliyun"), 2);
    assert!(gateway.stop().await);
}

#[tokio::test]
async fn the_next_provider_answers_when_the_first_fails() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]).start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    let reply = gateway.ask(&anybody()).await;
    assert_eq!((reply.verdict(), reply.provider()), ("match", "yunyi"));
    assert_eq!(reply.attempts(), ["aliyun=provider_error(unknown)", "yunyi=verdict(yes)"]);
}

/// A response that no protocol defines and that every breaker counts as a failure.
const SERVER_ERROR: &str = r#"{"kind": "status", "status": 500}"#;

/// Bypasses the cache.
const NO_CACHE: &[(&str, &str)] = &[("cache-control", "no-cache")];

/// Answers from the cache or not at all.
const ONLY_IF_CACHED: &[(&str, &str)] = &[("cache-control", "only-if-cached")];

/// Limits that no slow machine reaches, for tests that are not about them. Later overlays take precedence.
fn unhurried(gateway: Builder) -> Builder {
    let mut toml = String::from("[server]\nrequest_timeout = \"60s\"\n[chain]\nbudget = \"60s\"\n");
    toml.push_str("[budget]\nextra_attempts_per_minute = 100000\n");
    toml.push_str("[breaker]\nprobe_lease = \"120s\"\nslow_call = \"60s\"\n");
    for provider in idgate::providers::DRIVERS.iter().map(|driver| driver.name) {
        toml.push_str(&format!("[providers.{provider}]\nconnect_timeout = \"20s\"\nattempt_timeout = \"30s\"\n"));
        toml.push_str("call_limit = \"60s\"\nrate_limit = 100000\n");
    }
    gateway.over(toml)
}

/// A provider whose calls the chain awaits only this long; the calls themselves may take longer.
fn attempt_timeout(provider: &str, wait: &str) -> String {
    format!("[providers.{provider}]\nconnect_timeout = \"{wait}\"\nattempt_timeout = \"{wait}\"")
}

/// Polls a condition, for half a minute at most.
async fn until(what: &str, mut came_true: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !came_true().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until no call is in progress, including calls whose callers have gone.
async fn until_quiet(gateway: &TestGateway) {
    until("nothing is under way", async || {
        let status: Value = serde_json::from_str(&gateway.admin_get("/v1/status").await.1).expect("status is JSON");
        let calls = status["providers"].as_array().expect("providers").iter().map(|one| one["in_flight"].as_u64());
        status["flights"] == 0 && calls.sum::<Option<u64>>() == Some(0)
    })
    .await;
}

/// `closed`, `half_open` or `open`; endpoints are counted from 0.
async fn breaker_of(gateway: &TestGateway, provider: &str, endpoint: usize) -> String {
    let status = gateway.status_of(provider).await;
    status["endpoints"][endpoint]["breaker"].as_str().expect("a state").to_owned()
}

/// `provider verdict (source)`, or the problem's status and code.
fn in_short(reply: &Reply) -> String {
    match reply.status.as_u16() {
        200 => format!("{} {} ({})", reply.provider(), reply.verdict(), reply.source()),
        status => format!("{status} {}", reply.code()),
    }
}
