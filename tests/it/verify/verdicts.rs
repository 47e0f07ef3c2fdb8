//! A verdict ends the chain, except where the policy asks for a second opinion.

use idgate::domain::verdict::Verdict;
use idgate::providers::DRIVERS;

use super::{SERVER_ERROR, in_short, unhurried};
use crate::support::{Builder, Pair, TestGateway, anybody};

fn all() -> impl Iterator<Item = &'static str> {
    DRIVERS.iter().map(|driver| driver.name)
}

fn calls(gateway: &TestGateway) -> Vec<u64> {
    all().map(|provider| gateway.sandbox.calls(provider)).collect()
}

/// Issue 13, line 21: with a byte order mark, a 203 or a coding that the request did not forbid, a paid answer counted
/// as garbage, and the next provider was paid too.
#[tokio::test]
async fn an_answer_in_another_legal_form_is_read_and_nobody_else_is_paid() {
    for provider in all() {
        let other = all().find(|other| *other != provider).expect("another driver");
        let gateway = unhurried(TestGateway::new()).chain(&[provider, other]).start().await;
        gateway.fault(provider, r#"{"kind": "other_form"}"#);
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(reply.attempts(), [format!("{provider}=verdict(yes)")]);
        assert_eq!(in_short(&reply), format!("{provider} match (provider)"));
        assert_eq!(gateway.sandbox.calls(other), 0, "{provider}");
    }
}

/// No person has a record, and the policy is to ask the next provider in that case.
fn second_opinion(order: &[&str]) -> Builder {
    let gateway = unhurried(TestGateway::new()).unlisted(Verdict::NoRecord).chain(order);
    gateway.over("[chain]\non_no_record = \"ask_next\"")
}

#[tokio::test]
async fn a_mismatch_is_final_whatever_the_policy_and_whoever_answers() {
    for provider in all() {
        let others: Vec<_> = all().filter(|other| *other != provider).collect();
        let order: Vec<_> = std::iter::once(provider).chain(others).collect();
        let gateway = second_opinion(&order).endpoints(2).start().await;
        let reply = gateway.ask(&Pair::new("李四", "11010519491231002X")).await;
        assert_eq!(in_short(&reply), format!("{provider} mismatch (provider)"));
        assert_eq!(reply.attempts(), [format!("{provider}=verdict(yes)")]);
        assert_eq!(calls(&gateway).iter().sum::<u64>(), 1, "{provider}: nobody shops for a better answer");
    }
}

#[tokio::test]
async fn a_missing_record_is_final_unless_the_policy_says_otherwise() {
    let gateway = unhurried(TestGateway::new()).unlisted(Verdict::NoRecord).start().await;
    assert_eq!(in_short(&gateway.ask(&anybody()).await), "aliyun no_record (provider)");
    assert_eq!((calls(&gateway)[0], calls(&gateway).iter().sum::<u64>()), (1, 1));
}

#[tokio::test]
async fn a_second_opinion_is_asked_for_a_missing_record_and_the_first_one_stands() {
    let gateway = second_opinion(&["aliyun", "yunyi"]).start().await;
    let pair = anybody();
    let reply = gateway.ask(&pair).await;
    assert_eq!(in_short(&reply), "aliyun no_record (provider)");
    assert_eq!(reply.attempts(), ["aliyun=verdict(yes)", "yunyi=verdict(yes)"]);
    assert_eq!(in_short(&gateway.ask(&pair).await), "aliyun no_record (cache)");
}

#[tokio::test]
async fn a_second_opinion_that_fails_leaves_the_missing_record() {
    for fault in [SERVER_ERROR, r#"{"kind": "garbage"}"#, r#"{"kind": "refuse_connections"}"#, r#"{"kind": "reset"}"#] {
        let gateway = second_opinion(&["aliyun", "yunyi"]).start().await;
        gateway.fault("yunyi", fault);
        let reply = gateway.ask(&anybody()).await;
        assert_eq!(in_short(&reply), "aliyun no_record (provider)", "{fault}");
        assert_eq!(gateway.metric("idgate_verdicts_total", &[]).await, 1.0, "{fault}");
    }
}

#[tokio::test]
async fn a_second_opinion_is_an_extra_attempt_and_its_budget_can_end() {
    let gateway = second_opinion(&["aliyun", "yunyi"]).over("[budget]\nextra_attempts_per_minute = 1").start().await;
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun=verdict(yes)", "yunyi=verdict(yes)"]);
    let second = gateway.ask(&anybody()).await;
    assert_eq!(second.attempts(), ["aliyun=verdict(yes)", "yunyi=skipped_budget(no)"]);
    assert_eq!(in_short(&second), "aliyun no_record (provider)");
}

#[tokio::test]
async fn a_missing_record_costs_what_the_price_list_says() {
    let gateway = unhurried(TestGateway::new()).unlisted(Verdict::NoRecord).chain(&["aliyun_intl"]).start().await;
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["aliyun_intl=verdict(no)"]);
}

#[tokio::test]
async fn whoever_does_not_take_a_document_is_passed_over_and_if_nobody_does_the_caller_is_told() {
    let residence_permit = Pair::new("陈香江", "810000199407019988");
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun_intl", "aliyun"]).start().await;
    let reply = gateway.ask(&residence_permit).await;
    assert_eq!(reply.attempts(), ["aliyun_intl=skipped_unsupported(no)", "aliyun=verdict(yes)"]);
    assert_eq!(in_short(&reply), "aliyun match (provider)");

    let gateway = unhurried(TestGateway::new()).chain(&["aliyun_intl"]).start().await;
    let reply = gateway.ask(&residence_permit).await;
    assert_eq!(in_short(&reply), "422 unsupported_document");
    assert_eq!((reply.body["retryable"].as_bool(), gateway.sandbox.calls("aliyun_intl")), (Some(false), 0));
}
