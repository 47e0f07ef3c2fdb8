//! Silent, slow, vanished and too many callers of the whole gateway.

use super::{LogFile, Raw, assert_problem, eventually};
use crate::support::{TestGateway, anybody};

#[tokio::test]
async fn a_caller_who_leaves_is_one_log_line_and_one_count_and_its_verdict_is_kept() {
    let log = LogFile::new();
    let gateway = TestGateway::new().chain(&["aliyun"]).access_log(log.log.clone()).start().await;
    gateway.fault("aliyun", r#"{"kind": "slow", "delay": "300ms"}"#);
    let pair = anybody();
    let body = pair.body().to_string();
    let mut raw = Raw::to(&gateway).await;
    raw.say(format!(
        "POST /v1/verify HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    eventually("the call is under way", async || gateway.sandbox.calls("aliyun") == 1).await;
    drop(raw);
    eventually("the request is logged", async || !log.lines().is_empty()).await;
    eventually("the verdict comes home", async || {
        gateway.metric("idgate_verdicts_total", &[("provider", "aliyun")]).await == 1.0
    })
    .await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["status"], &lines[0]["request_id"]), (&499.into(), &"gone".into()));
    assert_eq!(gateway.metric("idgate_requests_total", &[]).await, 1.0);
    assert_eq!(gateway.metric("idgate_requests_total", &[("status", "499")]).await, 1.0);
    // What it waited for was the provider: an impatient caller is no slowness of ours.
    let seconds = async |series: &str| gateway.metric(series, &[("source", "none")]).await;
    let (all, ours) =
        (seconds("idgate_request_duration_seconds_sum").await, seconds("idgate_overhead_seconds_sum").await);
    assert!(ours < all / 2.0, "{ours} s of {all} s are said to be overhead");
    assert_eq!((gateway.ask(&pair).await.source(), gateway.sandbox.calls("aliyun")), ("cache", 1));
}

#[tokio::test]
async fn silent_and_slow_callers_are_cut_while_others_are_answered() {
    let limits = "[server]\nbody_timeout = \"200ms\"\n[server.connections]\nfirst_request_timeout = \"200ms\"\nkeep_alive_timeout = \"200ms\"";
    let gateway = TestGateway::new().over(limits).start().await;
    let head = "POST /v1/verify HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n";
    let mut silent = Raw::to(&gateway).await;
    let mut half_a_head = Raw::to(&gateway).await;
    half_a_head.say(head).await;
    let mut no_body = Raw::to(&gateway).await;
    no_body.say(format!("{head}\r\n")).await;
    let mut idle = Raw::to(&gateway).await;
    idle.say("GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.0, 404);
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    assert_eq!(silent.rest().await, "");
    assert_eq!(half_a_head.rest().await, "");
    assert!(no_body.rest().await.starts_with("HTTP/1.1 408 "));
    assert_eq!(idle.rest().await, "");
    let timed_out = ("idgate_connections_timed_out_total", [("listener", "public")]);
    eventually("all three are counted", async || gateway.metric(timed_out.0, &timed_out.1).await >= 3.0).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_in_a_problem_and_its_place_comes_free() {
    let gateway = TestGateway::new().over("[server.connections]\nmax_connections = 2").start().await;
    let open = async || gateway.metric("idgate_connections", &[("listener", "public")]).await;
    let (first, second) = (Raw::to(&gateway).await, Raw::to(&gateway).await);
    eventually("both are in", async || open().await == 2.0).await;
    for _ in 0..3 {
        let refused = gateway.ask(&anybody()).await;
        assert_problem(&refused, 503, "overloaded");
        assert_eq!((refused.header("retry-after"), refused.header("x-request-id")), ("1", "none"));
    }
    drop((first, second));
    eventually("the places are free", async || open().await == 0.0).await;
    assert_eq!(gateway.ask(&anybody()).await.verdict(), "match");
    assert_eq!(gateway.metric("idgate_connections_refused_total", &[("listener", "public")]).await, 3.0);
}
