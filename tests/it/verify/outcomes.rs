//! Every row of the outcome table, for every driver that can produce it, over real sockets.
//!
//! [`TABLE`] is transcribed from the contract, not read from the code; a second test checks that it has every outcome
//! of every driver.

use std::collections::BTreeSet;

use idgate::providers::DRIVERS;

use super::{attempt_timeout, breaker_of, in_short, unhurried};
use crate::support::{TestGateway, anybody};

/// The consequences of an outcome.
struct Row {
    outcome: &'static str,
    /// The number of endpoints tried if all three fail alike.
    endpoints: usize,
    /// Whether the breaker of the endpoint counts it as a failure.
    failure: bool,
    /// The answer if there is no other provider.
    alone: &'static str,
}

const fn row(outcome: &'static str, endpoints: usize, failure: bool, alone: &'static str) -> Row {
    Row { outcome, endpoints, failure, alone }
}

const NEUTRAL: bool = false;
const FAILURE: bool = true;

const TABLE: [Row; 10] = [
    row("input_refused", 1, NEUTRAL, "422 rejected_by_provider"),
    row("subject_throttled", 1, NEUTRAL, "429 subject_throttled"),
    row("rate_limited", 1, NEUTRAL, "503 no_provider_available"),
    row("account_fault", 1, NEUTRAL, "503 no_provider_available"),
    row("source_down", 1, FAILURE, "502 provider_failure"),
    row("provider_error", 2, FAILURE, "502 provider_failure"),
    row("unreachable", 3, FAILURE, "502 provider_failure"),
    row("timeout", 1, FAILURE, "504 outcome_unknown"),
    row("interrupted", 1, FAILURE, "502 provider_failure"),
    row("unreadable", 1, FAILURE, "502 provider_failure"),
];

/// A fault, the expected outcome, and the expected `billed`.
type Case = (String, String, String);

/// Transport faults, which affect every driver.
const TRANSPORT: [(&str, &str, &str); 13] = [
    (r#""kind": "refuse_connections""#, "unreachable", "no"),
    (r#""kind": "hang""#, "timeout", "unknown"),
    (r#""kind": "status", "status": 504"#, "timeout", "unknown"),
    (r#""kind": "reset""#, "interrupted", "unknown"),
    (r#""kind": "close""#, "interrupted", "unknown"),
    (r#""kind": "truncated""#, "interrupted", "unknown"),
    (r#""kind": "garbage""#, "unreadable", "unknown"),
    (r#""kind": "empty""#, "unreadable", "unknown"),
    (r#""kind": "big""#, "unreadable", "unknown"),
    (r#""kind": "redirect""#, "unreadable", "unknown"),
    (r#""kind": "html_502""#, "provider_error", "unknown"),
    (r#""kind": "status", "status": 500"#, "provider_error", "unknown"),
    (r#""kind": "status", "status": 429"#, "rate_limited", "no"),
];

/// The cases of a driver: those of its fixture, which replace the transport cases with the same fault, and the
/// remaining transport cases.
fn cases_of(driver: &str) -> Vec<Case> {
    let path = format!("{}/tests/fixtures/{driver}/outcomes.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let own: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
    let on_the_way =
        TRANSPORT.map(|(fault, outcome, billed)| (format!("{{{fault}}}"), outcome.to_owned(), billed.to_owned()));
    let is_replaced = |case: &Case| own.iter().any(|(fault, ..)| *fault == case.0);
    on_the_way.into_iter().filter(|case| !is_replaced(case)).chain(own.iter().cloned()).collect()
}

/// The provider that follows the driver under test.
fn other_than(driver: &str) -> &'static str {
    if driver == "aliyun" { "yunyi" } else { "aliyun" }
}

async fn gateway(driver: &str, fault: &str, order: &[&str], policy: &str) -> TestGateway {
    let mut gateway = unhurried(TestGateway::new()).endpoints(3).chain(order);
    gateway = gateway.over("[breaker]\nconsecutive_failures = 1\nopen_for = \"1h\"\nopen_max = \"1h\"");
    if fault.contains("hang") {
        gateway = gateway.over(attempt_timeout(driver, "200ms"));
        gateway = gateway.over(format!("[providers.{driver}]\ncall_limit = \"200ms\""));
    }
    let gateway = gateway.over(format!("[chain]\non_unknown = \"{policy}\"")).start().await;
    gateway.fault(driver, fault);
    gateway
}

async fn walk(driver: &'static str) {
    let other = other_than(driver);
    for (fault, outcome, billed) in cases_of(driver) {
        let row = TABLE.iter().find(|row| row.outcome == outcome).expect("the table has every outcome");
        let failed = format!("{driver}={outcome}({billed})");
        let all_failed = vec![failed.clone(); row.endpoints];
        let (own_verdict, other_verdict) = (format!("{driver}=verdict(yes)"), format!("{other}=verdict(yes)"));
        let context = format!("{driver} {fault}");

        // One endpoint fails: the next endpoint or provider is called, and the breaker records it.
        let here = gateway(driver, &fault.replace('}', ", \"endpoint\": 0}"), &[driver, other], "ask_next").await;
        let reply = here.ask(&anybody()).await;
        let next = if row.endpoints > 1 { own_verdict } else { other_verdict.clone() };
        assert_eq!(reply.attempts(), [failed.clone(), next], "{context}, one endpoint");
        let state = if row.failure { "open" } else { "closed" };
        assert_eq!(breaker_of(&here, driver, 0).await, state, "{context}, breaker");
        assert_eq!(breaker_of(&here, driver, 1).await, "closed", "{context}, breaker of the next endpoint");

        // All endpoints fail, and the policy is to stop after whatever may have been billed.
        let stop = gateway(driver, &fault, &[driver, other], "stop").await;
        let reply = stop.ask(&anybody()).await;
        if billed != "no" {
            assert_eq!((in_short(&reply), reply.attempts()), (row.alone.into(), vec![failed]), "{context}, stop");
            assert_eq!(stop.sandbox.calls(other), 0, "{context}, stop");
        } else {
            let attempts = [all_failed.clone(), vec![other_verdict]].concat();
            assert_eq!(reply.attempts(), attempts, "{context}, stop");
        }

        let alone = gateway(driver, &fault, &[driver], "ask_next").await;
        let reply = alone.ask(&anybody()).await;
        assert_eq!((in_short(&reply), reply.attempts()), (row.alone.into(), all_failed), "{context}, alone");
        assert_eq!(reply.body["may_have_been_billed"], billed != "no", "{context}, alone");
        assert_eq!(alone.metric("idgate_verdicts_total", &[]).await, 0.0, "{context}: a fault is never a verdict");
    }
}

#[tokio::test]
async fn every_driver_walks_the_whole_table() {
    futures_util::future::join_all(DRIVERS.iter().map(|driver| walk(driver.name))).await;
}

/// Every driver must be able to answer alone: with a single cloud, one outage would stop everything.
#[tokio::test]
async fn any_driver_answers_while_every_host_of_all_others_is_down() {
    for last in DRIVERS {
        let first = other_than(last.name);
        let gateway = unhurried(TestGateway::new()).chain(&[first, last.name]).start().await;
        for other in DRIVERS.iter().filter(|other| other.name != last.name) {
            gateway.fault(other.name, r#"{"kind": "refuse_connections"}"#);
        }
        for _ in 0..3 {
            let reply = gateway.ask(&anybody()).await;
            assert_eq!((reply.verdict(), reply.provider()), ("match", last.name), "{reply:?}");
        }
    }
}

#[test]
fn no_outcome_that_a_driver_can_produce_is_missing() {
    for driver in DRIVERS {
        let tested: BTreeSet<_> = cases_of(driver.name).into_iter().map(|(_, outcome, _)| outcome).collect();
        for code in driver.codes.iter().copied().flatten() {
            assert!(tested.contains(code.outcome.as_str()), "{} {}", driver.name, code.code);
        }
    }
}
