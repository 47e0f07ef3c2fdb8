//! A failing provider is not called, and is called again after it has recovered.

use super::{SERVER_ERROR, attempt_timeout, breaker_of, in_short, unhurried, until, until_quiet};
use crate::support::{Builder, TestGateway, anybody};

fn two() -> Builder {
    unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"])
}

#[tokio::test]
async fn after_five_failing_questions_the_provider_is_no_longer_asked() {
    let gateway = two().over("[breaker]\nopen_for = \"1h\"\nopen_max = \"2h\"").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    for asked in 0..5 {
        assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed", "after {asked}");
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(reply.attempts(), ["aliyun=provider_error(unknown)", "yunyi=verdict(yes)"]);
    }
    let status = gateway.status_of("aliyun").await;
    assert_eq!((&status["endpoints"][0]["breaker"], &status["available"]), (&"open".into(), &false.into()));
    assert_eq!(status["endpoints"][0]["reason"], "consecutive_failures");
    assert!(status["endpoints"][0]["retry_after_seconds"].as_f64().is_some_and(|wait| wait > 60.0));

    let sixth = gateway.ask(&anybody()).await;
    assert_eq!(sixth.attempts(), ["aliyun=skipped_open(no)", "yunyi=verdict(yes)"]);
    assert_eq!(gateway.sandbox.calls("aliyun"), 5);
    assert_eq!(gateway.metric("idgate_breaker_state", &[("provider", "aliyun")]).await, 2.0);
    assert_eq!(gateway.metric("idgate_provider_available", &[("provider", "aliyun")]).await, 0.0);
    let fallbacks = [("from", "aliyun"), ("to", "yunyi")];
    assert_eq!(gateway.metric("idgate_fallbacks_total", &fallbacks).await, 6.0);
}

#[tokio::test]
async fn with_the_fault_gone_one_probe_closes_it() {
    let gateway = two().over("[breaker]\nopen_for = \"100ms\"").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    for _ in 0..5 {
        assert_eq!(gateway.ask(&anybody()).await.provider(), "yunyi");
    }
    gateway.mend("aliyun");
    until("a probe goes out", async || gateway.ask(&anybody()).await.provider() == "aliyun").await;
    assert_eq!(gateway.sandbox.calls("aliyun"), 6);
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
}

#[tokio::test]
async fn s15_of_many_questions_at_once_one_is_the_probe() {
    let gateway = two().over("[breaker]\nopen_for = \"100ms\"\nconsecutive_failures = 1").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    until("its time is over", async || {
        gateway.status_of("aliyun").await["endpoints"][0]["retry_after_seconds"].is_null()
    })
    .await;
    let people: Vec<_> = (0..20).map(|_| anybody()).collect();
    let replies = futures_util::future::join_all(people.iter().map(|pair| gateway.ask(pair))).await;
    let by = |provider: &str| replies.iter().filter(|reply| reply.provider() == provider).count();
    assert_eq!((by("aliyun"), by("yunyi")), (1, 19));
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
}

#[tokio::test]
async fn a_failed_probe_opens_it_again() {
    let gateway = two().over("[breaker]\nopen_for = \"100ms\"\nconsecutive_failures = 1").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    until("a probe went out", async || {
        gateway.ask(&anybody()).await;
        gateway.sandbox.calls("aliyun") == 2
    })
    .await;
    let to_open = [("provider", "aliyun"), ("to", "open"), ("reason", "probe_failed")];
    assert_eq!(gateway.metric("idgate_breaker_transitions_total", &to_open).await, 1.0);
}

#[tokio::test]
async fn s16_impatient_callers_do_not_trip_a_healthy_provider() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]);
    let gateway = gateway.over("[server]\nrequest_timeout = \"100ms\"\n[breaker]\nconsecutive_failures = 1");
    let gateway = gateway.start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let people: Vec<_> = (0..8).map(|_| anybody()).collect();
    for reply in futures_util::future::join_all(people.iter().map(|pair| gateway.ask(pair))).await {
        assert_eq!(in_short(&reply), "504 outcome_unknown");
    }
    until_quiet(&gateway).await;
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    assert_eq!(gateway.metric("idgate_verdicts_total", &[]).await, 8.0);
}

#[tokio::test]
async fn slow_answers_do_trip_it() {
    let slow =
        "[breaker]\nslow_call = \"100ms\"\nminimum_calls = 3\nslow_ratio = 0.9\nopen_for = \"1h\"\nopen_max = \"1h\"";
    let gateway = two().over(slow).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "150ms"}"#);
    for _ in 0..3 {
        assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
    }
    assert_eq!(gateway.status_of("aliyun").await["endpoints"][0]["reason"], "slow_ratio");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "yunyi match (provider)");
}

#[tokio::test]
async fn timeouts_trip_it_though_their_late_answers_are_kept() {
    let gateway = two().over(attempt_timeout("aliyun", "150ms"));
    let gateway =
        gateway.over("[breaker]\nconsecutive_failures = 3\nopen_for = \"1h\"\nopen_max = \"1h\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    for _ in 0..3 {
        assert_eq!(gateway.ask(&anybody()).await.attempts()[0], "aliyun=timeout(unknown)");
    }
    until_quiet(&gateway).await;
    // Late successes belong to a past epoch of the breaker and do not close it.
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "open");
    assert_eq!(gateway.metric("idgate_billed_calls_total", &[("provider", "aliyun"), ("billed", "yes")]).await, 3.0);
}

#[tokio::test]
async fn each_endpoint_has_a_breaker_of_its_own() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).endpoints(2);
    let gateway =
        gateway.over("[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_max = \"1h\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "status", "status": 503, "endpoint": 0}"#);
    for _ in 0..2 {
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(reply.attempts(), ["aliyun=provider_error(unknown)", "aliyun=verdict(yes)"]);
    }
    let states = (breaker_of(&gateway, "aliyun", 0).await, breaker_of(&gateway, "aliyun", 1).await);
    assert_eq!(states, ("open".into(), "closed".into()));
    assert_eq!(gateway.status_of("aliyun").await["available"], true);
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=skipped_open(no)", "aliyun=verdict(yes)"]);
}

#[tokio::test]
async fn s22_a_fallback_that_fails_feeds_its_own_breaker_once_per_attempt() {
    let gateway = two().over("[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_max = \"1h\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "input_refused"}"#);
    gateway.fault("yunyi", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    assert_eq!(breaker_of(&gateway, "yunyi", 0).await, "closed");
    gateway.ask(&anybody()).await;
    let states = (breaker_of(&gateway, "aliyun", 0).await, breaker_of(&gateway, "yunyi", 0).await);
    assert_eq!(states, ("closed".into(), "open".into()));
}

#[tokio::test]
async fn s19_when_all_are_open_the_caller_is_told_when_to_come_back() {
    let gateway = two().over("[breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\nopen_max = \"1h\"").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.fault("yunyi", SERVER_ERROR);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "502 provider_failure");
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&reply), "503 no_provider_available");
    assert_eq!(reply.attempts(), ["aliyun=skipped_open(no)", "yunyi=skipped_open(no)"]);
    assert_eq!(reply.body["may_have_been_billed"], false);
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|wait| (60..=3600).contains(&wait)));
    assert_eq!((gateway.sandbox.calls("aliyun"), gateway.sandbox.calls("yunyi")), (1, 1));
    // Still ready: another provider may be configured, and cached answers are still served.
    assert_eq!(gateway.admin_get("/readyz").await.0, 200);
}

#[tokio::test]
async fn s35_looking_at_the_gateway_never_calls_a_provider() {
    let gateway = two().over("[breaker]\nconsecutive_failures = 1\nopen_for = \"10ms\"").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    until("its time is over", async || {
        gateway.status_of("aliyun").await["endpoints"][0]["retry_after_seconds"].is_null()
    })
    .await;
    for path in ["/livez", "/readyz", "/metrics", "/v1/status", "/docs/"] {
        gateway.admin_get(path).await;
    }
    assert_eq!((gateway.sandbox.calls("aliyun"), gateway.sandbox.calls("yunyi")), (1, 1));
}

/// Two providers whose breakers are open, though the first answered a question before and has recovered.
async fn after_a_storm(more: &str) -> TestGateway {
    let breaker = "[breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\nopen_max = \"1h\"\n";
    let gateway = two().over(format!("{breaker}{more}")).start().await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
    for provider in ["aliyun", "yunyi"] {
        gateway.fault(provider, SERVER_ERROR);
    }
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "502 provider_failure");
    for provider in ["aliyun", "yunyi"] {
        gateway.mend(provider);
    }
    gateway
}

#[tokio::test]
async fn in_a_fault_storm_a_trickle_passes_through_the_least_bad_endpoint_and_provenance_says_so() {
    let gateway = after_a_storm("trickle = 1").await;
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&reply), "aliyun match (provider)");
    assert_eq!(reply.attempts(), ["aliyun=skipped_open(no)", "yunyi=skipped_open(no)", "aliyun=verdict(yes)"]);
    assert_eq!(reply.body["provenance"]["attempts"][2]["reason"], "trickle");
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "open");
    // yunyi has answered nothing, so only a probe may ask it.
    assert_eq!((gateway.sandbox.calls("aliyun"), gateway.sandbox.calls("yunyi")), (3, 1));
}

#[tokio::test]
async fn without_a_trickle_a_chain_of_open_breakers_asks_nobody() {
    let gateway = after_a_storm("trickle = 0").await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "503 no_provider_available");
    assert_eq!((gateway.sandbox.calls("aliyun"), gateway.sandbox.calls("yunyi")), (2, 1));
}
