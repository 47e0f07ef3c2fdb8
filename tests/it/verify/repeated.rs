//! "403 异常重复调用": a provider refuses a person because of too many calls about them.

use super::{NO_CACHE, breaker_of, in_short, unhurried};
use crate::support::{Reply, TestGateway, anybody};

const REPEATED: &str = r#"{"kind": "outcome", "outcome": "subject_throttled", "times": 1}"#;

fn retry_after(reply: &Reply) -> u64 {
    reply.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {reply:#?}"))
}

#[tokio::test]
async fn a_person_called_repeated_is_answered_by_the_next_provider_and_held_off_the_first() {
    // A single failure would open the breaker.
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]);
    let gateway = gateway.over("[breaker]\nconsecutive_failures = 1").endpoints(2).start().await;
    gateway.fault("aliyun", REPEATED);
    let held = anybody();
    let first = gateway.ask(&held).await;
    assert_eq!(first.attempts(), ["aliyun=subject_throttled(unknown)", "yunyi=verdict(yes)"]);
    assert_eq!(in_short(&first), "yunyi match (provider)");
    assert_eq!(breaker_of(&gateway, "aliyun", 0).await, "closed");
    assert_eq!(gateway.status_of("aliyun").await["holds"], 1);
    assert_eq!(gateway.metric("idgate_subject_holds", &[("provider", "aliyun")]).await, 1.0);

    // The fault ended with that call; the hold is still there, and `no-cache` does not bypass it.
    let again = gateway.ask_with(&held, NO_CACHE).await;
    assert_eq!(again.attempts(), ["aliyun=skipped_hold(no)", "yunyi=verdict(yes)"]);
    assert_eq!(gateway.sandbox.calls_of("aliyun", &held.id_number), 1);
    assert_eq!(gateway.metric("idgate_calls_avoided_total", &[("reason", "hold")]).await, 1.0);

    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
}

#[tokio::test]
async fn our_own_limit_stops_us_before_the_provider_does() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]).start().await;
    let pair = anybody();
    for _ in 0..5 {
        assert_eq!(in_short(&gateway.ask_with(&pair, NO_CACHE).await), "aliyun match (provider)");
    }
    let sixth = gateway.ask_with(&pair, NO_CACHE).await;
    assert_eq!(sixth.attempts(), ["aliyun=skipped_hold(no)", "yunyi=verdict(yes)"]);
    assert_eq!(gateway.sandbox.calls_of("aliyun", &pair.id_number), 5);
    assert_eq!(in_short(&gateway.ask_with(&anybody(), NO_CACHE).await), "aliyun match (provider)");
}

#[tokio::test]
async fn when_every_provider_holds_a_person_the_caller_is_told_when_to_come_back() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "aliyun_intl"]).start().await;
    gateway.fault("aliyun", REPEATED);
    gateway.fault("aliyun_intl", REPEATED);
    let held = anybody();
    let refused = gateway.ask(&held).await;
    assert_eq!(in_short(&refused), "429 subject_throttled");
    assert_eq!(refused.attempts(), ["aliyun=subject_throttled(unknown)", "aliyun_intl=subject_throttled(unknown)"]);
    assert_eq!((refused.body["may_have_been_billed"].as_bool(), retry_after(&refused)), (Some(true), 600));

    let again = gateway.ask(&held).await;
    assert_eq!(in_short(&again), "429 subject_throttled");
    assert_eq!(again.attempts(), ["aliyun=skipped_hold(no)", "aliyun_intl=skipped_hold(no)"]);
    assert_eq!(again.body["may_have_been_billed"], false);
    assert!((1..=600).contains(&retry_after(&again)));
    assert_eq!(gateway.sandbox.calls_of("aliyun", &held.id_number), 1);
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun match (provider)");
}

#[tokio::test]
async fn a_hold_ends_by_itself() {
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun", "yunyi"]);
    let gateway = gateway.over("[holds]\nfirst = \"300ms\"\ncalls = 1000").start().await;
    gateway.fault("aliyun", REPEATED);
    let held = anybody();
    assert_eq!(in_short(&gateway.ask(&held).await), "yunyi match (provider)");
    super::until("the hold is over", async || gateway.ask_with(&held, NO_CACHE).await.provider() == "aliyun").await;
    assert_eq!(gateway.status_of("aliyun").await["holds"], 0);
}
