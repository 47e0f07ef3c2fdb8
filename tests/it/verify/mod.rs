//! Question in, verdict out, over real sockets and real protocols.

use crate::support::{Pair, TestGateway, anybody};

#[tokio::test]
async fn a_question_travels_through_a_real_protocol_and_is_remembered() {
    let gateway = TestGateway::new().start().await;
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
    let gateway = TestGateway::new().chain(&["aliyun", "yunyi"]).start().await;
    gateway.fault("aliyun", r#"{"kind": "status", "status": 500}"#);
    let reply = gateway.ask(&anybody()).await;
    assert_eq!((reply.verdict(), reply.provider()), ("match", "yunyi"));
    assert_eq!(reply.attempts(), ["aliyun=provider_error(unknown)", "yunyi=verdict(yes)"]);
}
