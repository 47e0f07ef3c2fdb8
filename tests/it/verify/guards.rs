//! Other reasons not to call a provider: its account, the operator, rate limit, concurrency limit, budget.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::Value;

use super::{SERVER_ERROR, breaker_of, in_short, unhurried, until};
use crate::support::{Builder, TestGateway, anybody};

const ARREARS: &str = r#"{"kind": "outcome", "outcome": "account_fault", "reason": "arrears"}"#;

fn two() -> Builder {
    unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"])
}

#[tokio::test]
async fn s21_an_account_fault_sets_the_provider_aside_until_it_is_restored() {
    let gateway = two().over("[breaker]\nconsecutive_failures = 1").endpoints(2).start().await;
    gateway.fault("aliyun", ARREARS);
    let first = gateway.ask(&anybody()).await;
    assert_eq!(first.attempts(), ["aliyun=account_fault(no)", "yunyi=verdict(yes)"]);
    let status = gateway.status_of("aliyun").await;
    assert_eq!((&status["account_fault"]["reason"], &status["available"]), (&"arrears".into(), &false.into()));
    assert!(status["account_fault"]["retry_after_seconds"].as_f64().is_some_and(|wait| wait > 0.0));
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    let arrears = [("provider", "aliyun"), ("reason", "arrears")];
    assert_eq!(gateway.metric("idgate_account_fault", &arrears).await, 1.0);

    // The whole provider is skipped, including the second endpoint.
    let second = gateway.ask(&anybody()).await;
    assert_eq!(second.attempts().last().expect("an attempt"), "yunyi=verdict(yes)");
    assert!(second.attempts().iter().all(|attempt| attempt != "aliyun=account_fault(no)"));
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);

    gateway.mend("aliyun");
    assert_eq!(gateway.admin_post("/v1/providers/aliyun/restore").await, 204);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
    assert!(gateway.status_of("aliyun").await["account_fault"].is_null());
    assert_eq!(gateway.metric("idgate_account_fault", &arrears).await, 0.0);
}

#[tokio::test]
async fn after_its_interval_one_trial_brings_the_account_back() {
    let gateway = two().over("[account]\nfirst = \"1s\"\nmax = \"1m\"").start().await;
    gateway.fault("aliyun", ARREARS);
    assert_eq!(gateway.ask(&anybody()).await.provider(), "yunyi");
    gateway.mend("aliyun");
    until("the trial passes", async || gateway.ask(&anybody()).await.provider() == "aliyun").await;
    assert!(gateway.status_of("aliyun").await["account_fault"].is_null());
    assert_eq!(gateway.sandbox.calls("aliyun"), 2);
}

#[tokio::test]
async fn the_only_provider_with_an_account_fault_is_no_provider_and_says_when_to_come_back() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", ARREARS);
    for attempt in ["aliyun=account_fault(no)", "aliyun=skipped_open(no)"] {
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(in_short(&reply), "503 no_provider_available");
        assert_eq!(reply.attempts(), [attempt]);
        assert_eq!(reply.body["may_have_been_billed"], false);
        let wait = reply.header("retry-after").parse::<u64>();
        assert!(wait.is_ok_and(|wait| (1..=60).contains(&wait)), "{attempt}: {reply:#?}");
    }
}

#[tokio::test]
async fn skipped_open_says_which_account_fault_or_that_an_operator_is_the_reason() {
    let gateway = two().start().await;
    let reason = async || {
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(reply.attempts(), ["aliyun=skipped_open(no)", "yunyi=verdict(yes)"]);
        reply.body["provenance"]["attempts"][0]["reason"].clone()
    };
    gateway.fault("aliyun", ARREARS);
    gateway.ask(&anybody()).await;
    assert_eq!(reason().await, "arrears");
    assert_eq!(gateway.admin_post("/v1/providers/aliyun/isolate").await, 204);
    assert_eq!(reason().await, "isolated");
}

#[tokio::test]
async fn an_isolated_provider_is_passed_over_until_it_is_restored() {
    let gateway = two().start().await;
    assert_eq!(gateway.admin_post("/v1/providers/aliyun/isolate").await, 204);
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=skipped_open(no)", "yunyi=verdict(yes)"]);
    let status = gateway.status_of("aliyun").await;
    assert_eq!((&status["isolated"], &status["available"]), (&true.into(), &false.into()));
    assert_eq!(gateway.sandbox.calls("aliyun"), 0);
    assert_eq!(gateway.admin_post("/v1/providers/aliyun/restore").await, 204);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
    for operation in ["isolate", "restore"] {
        assert_eq!(gateway.admin_post(&format!("/v1/providers/nobody/{operation}")).await, 404);
    }
}

#[tokio::test]
async fn restore_closes_an_open_breaker() {
    let gateway = two().over("[breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\nopen_max = \"1h\"").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "open");
    gateway.mend("aliyun");
    assert_eq!(gateway.admin_post("/v1/providers/aliyun/restore").await, 204);
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
    // The breaker works normally again.
    gateway.fault("aliyun", SERVER_ERROR);
    gateway.ask(&anybody()).await;
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "open");
}

#[tokio::test]
async fn the_pause_that_a_provider_asks_for_is_kept() {
    let gateway = two().start().await;
    let throttled = r#"{"kind": "outcome", "outcome": "rate_limited", "retry_after": "50s", "times": 1}"#;
    gateway.fault("aliyun", throttled);
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=rate_limited(no)", "yunyi=verdict(yes)"]);
    let paused = gateway.status_of("aliyun").await["paused_seconds"].as_f64();
    assert!(paused.is_some_and(|left| (5.0..=50.0).contains(&left)), "{paused:?}");
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=skipped_rate(no)", "yunyi=verdict(yes)"]);
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
}

#[tokio::test]
async fn the_only_provider_that_pauses_says_when_to_come_back() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "outcome", "outcome": "rate_limited", "retry_after": "50s"}"#);
    for attempt in ["aliyun=rate_limited(no)", "aliyun=skipped_rate(no)"] {
        let reply = gateway.ask(&anybody()).await;
        assert_eq!((in_short(&reply), reply.attempts()), ("503 no_provider_available".into(), vec![attempt.into()]));
        assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=50).contains(&wait)));
    }
}

#[tokio::test]
async fn one_absurd_retry_after_is_no_outage_is_told_and_ends_with_restore_or_reload() {
    let gateway = two().start().await;
    let absurd = r#"{"kind": "outcome", "outcome": "rate_limited", "retry_after": "20h", "times": 1}"#;
    for ended_by in ["restore", "reload"] {
        gateway.fault("aliyun", absurd);
        gateway.ask(&anybody()).await;
        let status = gateway.status_of("aliyun").await;
        assert!(status["paused_seconds"].as_f64().is_some_and(|left| left <= 30.0), "{status:#}");
        assert_eq!((&status["available"], &status["unavailable_reason"]), (&false.into(), &"paused".into()));
        assert_eq!(gateway.metric("idgate_provider_available", &[("provider", "aliyun")]).await, 0.0);
        match ended_by {
            "restore" => assert_eq!(gateway.admin_post("/v1/providers/aliyun/restore").await, 204),
            _ => assert_eq!(gateway.reload().await.status, 200),
        }
        let status = gateway.status_of("aliyun").await;
        assert_eq!((&status["available"], &status["paused_seconds"]), (&true.into(), &Value::Null), "{ended_by}");
        assert!(status.get("unavailable_reason").is_none());
        assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)", "{ended_by}");
    }
}

#[tokio::test]
async fn a_retry_after_is_heard_from_every_driver_and_as_a_date_too() {
    for driver in idgate::providers::DRIVERS {
        for hint in ["20", "Fri, 31 Dec 9999 23:59:59 GMT", "Friday, 31-Dec-49 23:59:59 GMT"] {
            let app = axum::Router::new()
                .fallback(move || async move { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", hint)]) });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let server = tokio::spawn(async move { axum::serve(listener, app).await });
            let name = driver.name;
            let gateway = unhurried(TestGateway::new()).chain(&[name]);
            let gateway = gateway.over(format!("[providers.{name}]\nendpoints = [\"http://{at}\"]")).start().await;
            assert_eq!(gateway.ask(&anybody()).await.attempts(), [format!("{name}=rate_limited(no)")]);
            let paused = gateway.status_of(name).await["paused_seconds"].as_f64();
            assert!(paused.is_some_and(|left| (10.0..=30.0).contains(&left)), "{name}, {hint}: {paused:?}");
            server.abort();
        }
    }
}

#[tokio::test]
async fn our_own_rate_sends_what_is_too_fast_to_the_next_provider() {
    let gateway = two().over("[providers.aliyun]\nrate_limit = 1").start().await;
    let people: Vec<_> = (0..30).map(|_| anybody()).collect();
    let replies = join_all(people.iter().map(|pair| gateway.ask(pair))).await;
    assert!(replies.iter().all(|reply| reply.verdict() == "match"));
    let skipped = replies.iter().filter(|reply| reply.attempts()[0] == "aliyun=skipped_rate(no)").count();
    assert!(skipped > 0);
    assert_eq!(gateway.sandbox.calls("aliyun") + skipped as u64, 30);
}

#[tokio::test]
async fn a_full_provider_is_passed_over_at_once() {
    let gateway = two().over("[providers.aliyun]\nmax_concurrency = 1").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let (slow, fast) = (anybody(), anybody());
    let (first, second) = tokio::join!(gateway.ask(&slow), async {
        until("the slot is taken", async || gateway.sandbox.calls("aliyun") == 1).await;
        assert_eq!(gateway.status_of("aliyun").await["in_flight"], 1);
        gateway.ask(&fast).await
    });
    assert_eq!(second.attempts(), ["aliyun=skipped_full(no)", "yunyi=verdict(yes)"]);
    assert_eq!(in_short(&first), "aliyun match (provider)");
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
}

#[tokio::test]
async fn s23_the_budget_for_extra_attempts_ends() {
    let gateway = two().over("[budget]\nextra_attempts_per_minute = 2").start().await;
    gateway.fault("aliyun", SERVER_ERROR);
    for _ in 0..2 {
        assert_eq!(in_short(&gateway.ask(&anybody()).await), "yunyi match (provider)");
    }
    let third = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&third), "502 provider_failure");
    assert_eq!(third.attempts(), ["aliyun=provider_error(unknown)", "yunyi=skipped_budget(no)"]);
    assert_eq!(third.body["may_have_been_billed"], true);
    assert_eq!(gateway.sandbox.calls("yunyi"), 2);

    // After an attempt that cannot have been billed, the next one does not count against the budget for extra
    // attempts.
    gateway.fault("aliyun", r#"{"kind": "refuse_connections"}"#);
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=unreachable(no)", "yunyi=verdict(yes)"]);
}

#[tokio::test]
async fn who_is_not_asked_takes_nothing_from_the_budget() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "aliyun_intl", "yunyi"]);
    let gateway = gateway.over("[budget]\nextra_attempts_per_minute = 1").start().await;
    gateway.fault("aliyun_intl", ARREARS.replace("arrears", "no_permission").as_str());
    gateway.fault("aliyun", r#"{"kind": "refuse_connections"}"#);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "yunyi match (provider)");
    gateway.fault("aliyun", SERVER_ERROR);
    let reply = gateway.ask(&anybody()).await;
    let expected = ["aliyun=provider_error(unknown)", "aliyun_intl=skipped_open(no)", "yunyi=verdict(yes)"];
    assert_eq!(reply.attempts(), expected);
}

#[tokio::test]
async fn when_the_time_for_a_question_is_over_no_attempt_begins() {
    let gateway = two().over("[chain]\nbudget = \"300ms\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "1s", "times": 1}"#);
    gateway.fault("yunyi", r#"{"kind": "hang"}"#);
    // The first call takes longer than the chain's time budget and still succeeds: a call once made is awaited.
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");

    let gateway = two().over("[chain]\nbudget = \"200ms\"").over(super::attempt_timeout("aliyun", "400ms"));
    let gateway = gateway.over("[providers.aliyun]\ncall_limit = \"400ms\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&reply), "504 outcome_unknown");
    assert_eq!(reply.attempts(), ["aliyun=timeout(unknown)", "yunyi=skipped_deadline(no)"]);
    assert_eq!(gateway.sandbox.calls("yunyi"), 0);
}
