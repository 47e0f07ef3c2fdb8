//! The standard headers: each request header takes effect, and the response says so.

use super::{LogFile, bearer, client};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn a_callers_patience_is_applied_up_to_our_own() {
    let gateway = TestGateway::new().chain(&["aliyun"]).over("[server]\nrequest_timeout = \"2s\"").start().await;
    let pair = anybody();
    assert_eq!(gateway.ask_with(&pair, &[("prefer", "wait=1")]).await.header("preference-applied"), "wait=1");
    assert_eq!(gateway.ask_with(&pair, &[("prefer", "wait=100")]).await.header("preference-applied"), "wait=2");
    let forever = gateway.ask_with(&pair, &[("prefer", "wait=99999999999999999999999")]).await;
    assert_eq!(forever.header("preference-applied"), "wait=2", "too large a number is as long as it may be");
    for other in ["respond-async", "wait=soon", "wait=-1"] {
        assert_eq!(gateway.ask_with(&pair, &[("prefer", other)]).await.header("preference-applied"), "", "{other}");
    }
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let reply = gateway.ask_with(&anybody(), &[("prefer", "wait=0")]).await;
    assert_eq!((reply.code(), reply.header("preference-applied")), ("outcome_unknown", "wait=0"));
}

#[tokio::test]
async fn memory_says_how_it_took_part() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    let first = gateway.ask(&pair).await;
    assert_eq!((first.header("cache-status"), first.header("age")), ("idgate; fwd=miss", ""));
    let second = gateway.ask(&pair).await;
    assert!(second.header("cache-status").starts_with("idgate; hit; ttl="), "{second:?}");
    assert!(second.header("age").parse::<u64>().is_ok());
    let fresh = gateway.ask_with(&pair, &[("cache-control", "no-cache")]).await;
    assert_eq!((fresh.source(), gateway.sandbox.calls("aliyun")), ("provider", 2));
    let remembered = gateway.ask_with(&pair, &[("cache-control", "only-if-cached, max-age=600")]).await;
    assert_eq!((remembered.source(), gateway.sandbox.calls("aliyun")), ("cache", 2));
    let of_any_age = gateway.ask_with(&pair, &[("cache-control", "max-age=99999999999999999999")]).await;
    assert_eq!((of_any_age.source(), gateway.sandbox.calls("aliyun")), ("cache", 2), "not paid for again");
    assert_eq!(first.header("cache-control"), "no-store", "nobody in between keeps answers about people");
}

#[tokio::test]
async fn a_max_age_that_is_no_number_is_refused_and_makes_no_billed_call() {
    let gateway = TestGateway::new().chain(&["aliyun"]).start().await;
    let pair = anybody();
    gateway.ask(&pair).await;
    for bad in ["max-age=abc", "max-age=-1", "max-age=", "max-age", "max-age=1.5", "only-if-cached, max-age=soon"] {
        let reply = gateway.ask_with(&pair, &[("cache-control", bad)]).await;
        assert_eq!((reply.status.as_u16(), reply.code()), (400, "malformed_request"), "{bad}");
        let error = &reply.body["errors"][0];
        assert_eq!(error["reason"], "bad_max_age");
        assert!(error["detail"].as_str().unwrap().contains("the header Cache-Control"), "{reply:?}");
    }
    assert_eq!(gateway.sandbox.calls("aliyun"), 1);
}

#[tokio::test]
async fn a_clients_rate_is_shown_with_every_answer() {
    let section = client("payout", "idg_synthetic-two", "rate_limit = 10\nburst = 20");
    let gateway = TestGateway::new().over(section).start().await;
    let key = bearer("idg_synthetic-two");
    let reply = gateway.ask_with(&anybody(), &[("authorization", &key)]).await;
    assert_eq!(reply.header("ratelimit-policy"), "\"client\";q=20;w=2");
    assert!(reply.header("ratelimit").starts_with("\"client\";r=1"), "{reply:?}");
    let failed = gateway.post("{", &[("authorization", &key)]).await;
    assert_eq!(failed.header("ratelimit-policy"), "\"client\";q=20;w=2");
    assert_eq!(gateway.ask(&anybody()).await.header("ratelimit"), "", "nobody's rate is nobody's business");
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_fit_for_logs_and_replaced_if_not() {
    let log = LogFile::new();
    let gateway = TestGateway::new().access_log(log.log.clone()).start().await;
    let pair = anybody();
    let own = "a1B2-c3_d4.e5:f6";
    assert_eq!(gateway.ask_with(&pair, &[("x-request-id", own)]).await.header("x-request-id"), own);
    let apart = format!("{}-{}", &pair.id_number[..14], &pair.id_number[14..]);
    for unfit in [&pair.id_number, &apart, "a b", "<script>", "", &"a".repeat(129), "idg_a-key-in-the-wrong-header"] {
        let reply = gateway.ask_with(&pair, &[("x-request-id", unfit)]).await;
        assert_eq!(reply.header("x-request-id").parse::<uuid::Uuid>().unwrap().get_version_num(), 7, "{unfit}");
    }
    let lines = log.lines();
    assert_eq!((lines.len(), &lines[0]["request_id"]), (8, &own.into()));
    assert!(!log.text().contains(&pair.id_number));
}

#[tokio::test]
async fn a_trace_is_found_again_in_the_log_line() {
    let log = LogFile::new();
    let gateway = TestGateway::new().access_log(log.log.clone()).start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    gateway.ask_with(&anybody(), &[("traceparent", &parent)]).await;
    for broken in ["00-00000000000000000000000000000000-00f067aa0ba902b7-01", "11010519491231002X", "00-zz-1-01"] {
        gateway.ask_with(&anybody(), &[("traceparent", broken)]).await;
    }
    let url = format!("http://{}/nothing", gateway.public);
    gateway.http.get(url).header("traceparent", &parent).send().await.unwrap();
    let traces: Vec<_> = log.lines().iter().map(|line| line["trace_id"].as_str().map(str::to_owned)).collect();
    let known = Some(trace.to_owned());
    assert_eq!(traces, [known.clone(), None, None, None, known]);
}
