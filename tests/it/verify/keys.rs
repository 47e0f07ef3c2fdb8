//! Two keys at the same time: a call refused because of its key is repeated with the other key, and no other call is.

use idgate::domain::personal::Secret;
use idgate::providers::Credential;
use idgate::providers::alibaba::schemes::APP_CODE;

use crate::support::{TestGateway, anybody};

const NEXT: &str = "[providers.yunyi]\nnext = { app_code = { value = \"the-app-code-that-follows\" } }";

fn code(text: &str) -> Credential {
    Credential::bearer(&APP_CODE, Secret::new(text))
}

#[tokio::test]
async fn a_key_that_ends_is_followed_by_the_next_and_no_question_hears_of_it() {
    let gateway = TestGateway::new().chain(&["yunyi"]).over(NEXT).start().await;
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    assert_eq!(gateway.metric("idgate_credential_generation", &[("provider", "yunyi")]).await, 1.0);
    gateway.sandbox.accept("yunyi", vec![code("the-app-code-that-follows")]).unwrap();
    let before = gateway.sandbox.calls("yunyi");
    let replies = futures_util::future::join_all((0..20).map(|_| async { gateway.ask(&anybody()).await })).await;
    for reply in replies {
        assert_eq!((reply.verdict(), reply.attempts()), ("match", vec!["yunyi=verdict(yes)".to_owned()]));
    }
    assert_eq!(gateway.metric("idgate_credential_generation", &[("provider", "yunyi")]).await, 2.0);
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    let refused = gateway.sandbox.refused("yunyi");
    assert!(
        refused >= 1 && gateway.sandbox.calls("yunyi") - before == 21 + refused,
        "only refused calls were sent twice"
    );
}

#[tokio::test]
async fn with_both_keys_refused_each_call_is_sent_twice_at_most_and_the_account_is_set_aside() {
    let gateway = TestGateway::new().chain(&["yunyi"]).over(NEXT).start().await;
    gateway.sandbox.accept("yunyi", vec![code("somebody-elses")]).unwrap();
    let reply = gateway.ask(&anybody()).await;
    assert_eq!((reply.code(), gateway.sandbox.calls("yunyi")), ("no_provider_available", 2));
    assert_eq!(gateway.status_of("yunyi").await["account_fault"]["reason"], "key_refused");
    assert_eq!(gateway.ask(&anybody()).await.attempts(), ["yunyi=skipped_open(no)"]);
}

#[tokio::test]
async fn arrears_are_no_reason_to_take_the_other_key() {
    let gateway = TestGateway::new().chain(&["yunyi"]).over(NEXT).start().await;
    for fault in [r#"{"kind": "outcome", "outcome": "account_fault", "reason": "quota_used_up"}"#] {
        gateway.fault("yunyi", fault);
        gateway.ask(&anybody()).await;
    }
    assert_eq!(gateway.sandbox.calls("yunyi"), 1);
    assert_eq!(gateway.metric("idgate_credential_generation", &[("provider", "yunyi")]).await, 1.0);
}
