//! A question whose calls brought no answer may yet be billed, so asking it again is not a second bill.

use super::{NO_CACHE, attempt_timeout, in_short, unhurried, until, until_quiet};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

/// A provider whose calls are cut off after half a second.
fn chain(order: &[&str]) -> Builder {
    let cut = "[providers.aliyun]\ncall_limit = \"500ms\"\n[providers.yunyi]\ncall_limit = \"500ms\"";
    let gateway = unhurried(TestGateway::new()).chain(order).over(cut);
    gateway.over(attempt_timeout("aliyun", "200ms")).over(attempt_timeout("yunyi", "200ms"))
}

/// A provider that never answers.
const HANG: &str = r#"{"kind": "hang"}"#;

/// A provider whose connections break.
const RESET: &str = r#"{"kind": "reset"}"#;

fn seconds(reply: &Reply) -> u64 {
    reply.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {reply:#?}"))
}

async fn forget(gateway: &TestGateway, pair: &Pair) {
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let request = gateway.http.post(url).header("content-type", "application/json").body(pair.body().to_string());
    assert_eq!(request.send().await.expect("admin answers").status(), 200);
}

#[tokio::test]
async fn a_retry_after_the_call_limit_makes_no_second_call_and_is_told_the_same() {
    let gateway = chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", HANG);
    let pair = anybody();
    let first = gateway.ask(&pair).await;
    assert_eq!(
        (in_short(&first), first.attempts()),
        ("504 outcome_unknown".into(), vec!["aliyun=timeout(unknown)".into()])
    );
    until_quiet(&gateway).await;
    gateway.mend("aliyun");
    let again = gateway.ask(&pair).await;
    assert_eq!((in_short(&again), again.attempts()), (in_short(&first), first.attempts()));
    for reply in [&first, &again] {
        assert!((2..=60).contains(&seconds(reply)), "no retry helps before the window is over: {reply:#?}");
        assert_eq!((&reply.body["may_have_been_billed"], &reply.body["retryable"]), (&true.into(), &true.into()));
    }
    assert!(seconds(&again) <= seconds(&first));
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match", "others are asked about");
}

#[tokio::test]
async fn with_no_cache_it_is_asked_anew_and_the_verdict_takes_its_place() {
    for ttl in ["10m", "0s"] {
        let gateway = chain(&["aliyun"]).over(format!("[cache]\nmatch_ttl = \"{ttl}\"")).start().await;
        gateway.fault("aliyun", HANG);
        let pair = anybody();
        assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
        gateway.mend("aliyun");
        assert_eq!(in_short(&gateway.ask_with(&pair, NO_CACHE).await), "aliyun match (provider)");
        let source = if ttl == "0s" { "provider" } else { "cache" };
        assert_eq!(in_short(&gateway.ask(&pair).await), format!("aliyun match ({source})"));
    }
}

#[tokio::test]
async fn when_its_window_is_over_it_is_asked_again() {
    for ttl in ["300ms", "0s"] {
        let gateway = chain(&["aliyun"]).over(format!("[cache]\nunknown_ttl = \"{ttl}\"")).start().await;
        gateway.fault("aliyun", HANG);
        let pair = anybody();
        assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
        gateway.mend("aliyun");
        until("it is asked again", async || in_short(&gateway.ask(&pair).await) != "504 outcome_unknown").await;
        assert_eq!(
            (in_short(&gateway.ask(&pair).await), gateway.sandbox.calls("aliyun")),
            ("aliyun match (cache)".into(), 2)
        );
    }
}

#[tokio::test]
async fn a_retry_joins_the_call_that_goes_on_and_its_late_verdict_is_the_answer() {
    let gateway =
        unhurried(TestGateway::new()).chain(&["aliyun"]).over(attempt_timeout("aliyun", "100ms")).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let first = gateway.ask_with(&pair, &[("prefer", "wait=0")]).await;
    assert_eq!((in_short(&first), seconds(&first)), ("504 outcome_unknown".into(), 1));
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (shared)");
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
}

#[tokio::test]
async fn a_broken_connection_is_remembered_and_an_error_of_the_provider_as_on_unknown_says() {
    let error = r#"{"kind": "status", "status": 500}"#;
    for (fault, policy, is_kept) in
        [(RESET, "ask_next", true), (RESET, "stop", true), (error, "ask_next", false), (error, "stop", true)]
    {
        let gateway = chain(&["aliyun"]).over(format!("[chain]\non_unknown = \"{policy}\"")).start().await;
        gateway.fault("aliyun", fault);
        let pair = anybody();
        assert_eq!(in_short(&gateway.ask(&pair).await), "502 provider_failure");
        gateway.mend("aliyun");
        let again = in_short(&gateway.ask(&pair).await);
        let expected = if is_kept { "502 provider_failure" } else { "aliyun match (provider)" };
        assert_eq!(again, expected, "{fault} {policy}");
    }
}

#[tokio::test]
async fn who_is_forgotten_is_forgotten_here_too() {
    let gateway = chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", HANG);
    let (pair, other) = (anybody(), anybody());
    for pair in [&pair, &other] {
        assert_eq!(in_short(&gateway.ask(pair).await), "504 outcome_unknown");
    }
    gateway.mend("aliyun");
    forget(&gateway, &pair).await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (provider)");
    assert_eq!(in_short(&gateway.ask(&other).await), "504 outcome_unknown");
}

#[tokio::test]
async fn who_is_forgotten_while_the_call_hangs_leaves_nothing() {
    let gateway = chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", HANG);
    let pair = anybody();
    assert_eq!(in_short(&gateway.ask_with(&pair, &[("prefer", "wait=0")]).await), "504 outcome_unknown");
    until("it is called", async || gateway.sandbox.calls("aliyun") == 1).await;
    forget(&gateway, &pair).await;
    gateway.mend("aliyun");
    until_quiet(&gateway).await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (provider)");
}

#[tokio::test]
async fn a_reload_does_not_make_a_retry_a_second_bill() {
    let file = std::env::temp_dir().join(format!("idgate-unanswered-{}.toml", std::process::id()));
    let gateway = chain(&["aliyun"]).in_file(&file).start().await;
    gateway.fault("aliyun", HANG);
    let pair = anybody();
    assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
    gateway.mend("aliyun");
    gateway.rewrite(|text| text + "\n[account]\nfirst = \"2m\"\n");
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
    std::fs::remove_file(file).expect("it is there");
}
