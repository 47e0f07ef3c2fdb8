//! Callers of the whole gateway that are silent, slow, disconnected or too many.

use std::time::Duration;

use idgate::server::records::receipt::keys::Pair;
use serde_json::Value;

use super::{LogFile, PATIENCE, Raw, assert_problem, eventually};
use crate::ledger::{Folder, connection};
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
    // The wait was for the provider: an impatient caller must not raise the overhead metric.
    let seconds = async |series: &str| gateway.metric(series, &[("source", "none")]).await;
    let (all, ours) =
        (seconds("idgate_request_duration_seconds_sum").await, seconds("idgate_overhead_seconds_sum").await);
    assert!(ours < all / 2.0, "{ours} s of {all} s are said to be overhead");
    assert_eq!((gateway.ask(&pair).await.source(), gateway.sandbox.calls("aliyun")), ("cache", 1));
}

/// Sends the request repeatedly, closing each connection at once, until a cancelled request is logged.
async fn leave_until_logged(gateway: &TestGateway, log: &LogFile, path: &str) -> Value {
    let began = tokio::time::Instant::now();
    for attempt in 0.. {
        assert!(began.elapsed() < PATIENCE, "no request was cut off");
        let id = format!("{}-{attempt}", path.len());
        let mut raw = Raw::to(gateway).await;
        raw.say(format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-request-id: {id}\r\n\r\n")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(raw);
        let of_this = || log.lines().into_iter().filter(|line| line["request_id"] == *id);
        // A connection closed before its head was read leaves no line.
        for _ in 0..50 {
            match of_this().collect::<Vec<_>>().as_slice() {
                [] => tokio::time::sleep(Duration::from_millis(10)).await,
                [line] if line["status"] == 499 => return line.clone(),
                [_] => break,
                several => panic!("{several:?}"),
            }
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_caller_who_leaves_during_a_look_up_is_one_log_line_and_one_count() {
    let (folder, log) = (Folder::new(), LogFile::new());
    let key = format!("[receipts]\nkey = {{ value = {:?} }}\n", Pair::new().unwrap().private.expose());
    let gateway = folder.gateway().over(key).access_log(log.log.clone()).start().await;
    // A lookup first waits for the database to hold all earlier answers, which cannot happen while it is locked.
    let mut other = connection(&folder).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let id = gateway.ask(&anybody()).await.body["verification_id"].as_str().unwrap().to_owned();
    for (path, route) in [
        (format!("/v1/verifications/{id}"), "/v1/verifications/{id}"),
        (format!("/v1/verifications/{id}/receipt"), "/v1/verifications/{id}/receipt"),
        ("/v1/verifications".to_owned(), "/v1/verifications"),
    ] {
        let line = leave_until_logged(&gateway, &log, &path).await;
        assert_eq!(
            (&line["route"], &line["client"], &line["kind"]),
            (&route.into(), &"anonymous".into(), &"request".into())
        );
        assert!(line.get("code").is_none(), "{line}");
    }
    let count = async |labels: &[(&str, &str)]| gateway.metric("idgate_requests_total", labels).await as usize;
    assert_eq!(count(&[]).await, log.lines().len(), "each is counted once");
    assert_eq!(count(&[("status", "499")]).await, 3);
}

#[tokio::test]
async fn what_operators_ask_for_is_logged_with_their_name_and_not_counted() {
    let (folder, log) = (Folder::new(), LogFile::new());
    let gateway = folder.gateway().access_log(log.log.clone()).start().await;
    for path in ["/livez", "/readyz", "/metrics", "/v1/status", "/v1/verifications/x", "/nothing"] {
        gateway.admin_get(path).await;
    }
    let lines = log.lines();
    let told = |line: &Value| ["kind", "route", "operator", "status"].map(|key| line[key].to_string()).join(" ");
    assert_eq!(
        lines.iter().map(told).collect::<Vec<_>>(),
        [
            r#""admin_request" "/v1/status" "local" 200"#,
            r#""admin_request" "/v1/verifications/{id}" "local" 404"#,
            r#""admin_request" "none" "local" 404"#,
        ],
        "probes and scrapes are not logged"
    );
    assert_eq!(gateway.metric("idgate_requests_total", &[("status", "200")]).await, 0.0);
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
