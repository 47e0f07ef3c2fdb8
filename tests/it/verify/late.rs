//! A call that outlives its attempt is paid for, so its answer is kept.

use super::{attempt_timeout, breaker_of, in_short, unhurried, until, until_quiet};
use crate::support::{Builder, TestGateway, anybody};

/// The chain waits 200 ms for the first provider, which takes longer.
fn chain(order: &[&str]) -> Builder {
    unhurried(TestGateway::new()).chain(order).over(attempt_timeout("aliyun", "200ms"))
}

#[tokio::test]
async fn the_only_provider_may_answer_late() {
    let gateway = chain(&["aliyun"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let reply = gateway.ask(&pair).await;
    assert_eq!(in_short(&reply), "aliyun match (provider)");
    assert_eq!(reply.attempts(), ["aliyun=timeout(unknown)"]);
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
    assert_eq!(gateway.metric("idgate_verdicts_total", &[("verdict", "match")]).await, 1.0);
    assert_eq!(gateway.metric("idgate_duplicate_bills_total", &[]).await, 0.0);
}

#[tokio::test]
async fn a_late_verdict_changes_no_answer_that_is_remembered_and_is_counted_as_paid_twice() {
    let gateway = chain(&["aliyun", "yunyi"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let pair = anybody();
    let reply = gateway.ask(&pair).await;
    assert_eq!(in_short(&reply), "yunyi match (provider)");
    assert_eq!(reply.attempts(), ["aliyun=timeout(unknown)", "yunyi=verdict(yes)"]);
    until_quiet(&gateway).await;
    until("it is counted", async || {
        gateway.metric("idgate_duplicate_bills_total", &[("provider", "aliyun")]).await == 1.0
    })
    .await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "yunyi match (cache)");
    assert_eq!(gateway.metric("idgate_duplicate_bills_total", &[]).await, 1.0);
    assert_eq!(gateway.metric("idgate_verdicts_total", &[]).await, 1.0);
}

#[tokio::test]
async fn what_is_paid_twice_is_counted_also_where_nothing_is_remembered() {
    let gateway = chain(&["aliyun", "yunyi"]).over("[cache]\nmatch_ttl = \"0s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "yunyi match (provider)");
    until("it is counted", async || {
        gateway.metric("idgate_duplicate_bills_total", &[("provider", "aliyun")]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn with_on_unknown_stop_nobody_else_is_asked_and_the_late_verdict_answers() {
    let gateway = chain(&["aliyun", "yunyi"]).over("[chain]\non_unknown = \"stop\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&reply), "aliyun match (provider)");
    assert_eq!((gateway.sandbox.calls("aliyun"), gateway.sandbox.calls("yunyi")), (1, 0));
}

#[tokio::test]
async fn with_on_unknown_stop_and_no_verdict_at_all_the_outcome_stays_unknown() {
    let gateway = chain(&["aliyun", "yunyi"]).over("[chain]\non_unknown = \"stop\"");
    let gateway = gateway.over("[providers.aliyun]\ncall_limit = \"500ms\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let reply = gateway.ask(&anybody()).await;
    assert_eq!(in_short(&reply), "504 outcome_unknown");
    assert_eq!(reply.body["may_have_been_billed"], true);
    assert_eq!(gateway.sandbox.calls("yunyi"), 0);
}

#[tokio::test]
async fn the_first_verdict_wins_though_it_is_late_and_the_second_call_is_not_cut() {
    let gateway = chain(&["aliyun", "yunyi"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    gateway.fault("yunyi", r#"{"kind": "slow", "delay": "5s"}"#);
    let pair = anybody();
    let reply = gateway.ask(&pair).await;
    assert_eq!(in_short(&reply), "aliyun match (provider)");
    // The second call is in progress, so it is unknown whether it will be billed.
    assert_eq!(reply.attempts(), ["aliyun=timeout(unknown)", "yunyi=timeout(unknown)"]);
    until("the second call was answered", async || {
        gateway.metric("idgate_duplicate_bills_total", &[("provider", "yunyi")]).await == 1.0
    })
    .await;
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (cache)");
    assert_eq!(gateway.metric("idgate_billed_calls_total", &[("billed", "yes")]).await, 2.0);
    assert_eq!(breaker_of(&gateway, "yunyi", 0).await, "closed");
}

#[tokio::test]
async fn a_late_failure_ends_the_wait_and_is_no_verdict() {
    let gateway = chain(&["aliyun"]).over("[providers.aliyun]\ncall_limit = \"600ms\"");
    let gateway = gateway.over("[cache]\nunknown_ttl = \"0s\"").start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let pair = anybody();
    assert_eq!(in_short(&gateway.ask(&pair).await), "504 outcome_unknown");
    gateway.mend("aliyun");
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun match (provider)");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_holds_its_slot_until_it_ends() {
    let gateway = chain(&["aliyun", "yunyi"]).over("[providers.aliyun]\nmax_concurrency = 1").start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "2s"}"#);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "yunyi match (provider)");
    let next = gateway.ask(&anybody()).await;
    assert_eq!(next.attempts(), ["aliyun=skipped_full(no)", "yunyi=verdict(yes)"]);
    gateway.mend("aliyun");
    until_quiet(&gateway).await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
}
