//! Every row of the outcome table, for every driver that can produce it, over real sockets.
//!
//! [`TABLE`] is typed from the contract, not read from the code; a second test makes sure that no outcome of any driver
//! is missing here.

use std::collections::BTreeSet;

use idgate::providers::DRIVERS;

use super::{attempt_timeout, breaker_of, in_short, unhurried};
use crate::support::{TestGateway, anybody};

/// What follows from an outcome.
struct Row {
    outcome: &'static str,
    /// Of three endpoints that all fail alike, so many are asked.
    endpoints: usize,
    /// Whether the policy `on_unknown` decides if the next provider is asked; otherwise it always is.
    by_policy: bool,
    /// Whether the breaker of the endpoint counts a failure.
    failure: bool,
    /// The answer when it is the only provider.
    alone: &'static str,
}

const fn row(outcome: &'static str, endpoints: usize, by_policy: bool, failure: bool, alone: &'static str) -> Row {
    Row { outcome, endpoints, by_policy, failure, alone }
}

const NEUTRAL: bool = false;
const FAILURE: bool = true;

const TABLE: [Row; 10] = [
    row("input_refused", 1, false, NEUTRAL, "422 rejected_by_provider"),
    row("subject_throttled", 1, false, NEUTRAL, "429 subject_throttled"),
    row("rate_limited", 1, false, NEUTRAL, "503 no_provider_available"),
    row("account_fault", 1, false, NEUTRAL, "503 no_provider_available"),
    row("source_down", 1, false, FAILURE, "502 provider_failure"),
    row("provider_error", 2, false, FAILURE, "502 provider_failure"),
    row("unreachable", 3, false, FAILURE, "502 provider_failure"),
    row("timeout", 1, true, FAILURE, "504 outcome_unknown"),
    row("interrupted", 1, true, FAILURE, "502 provider_failure"),
    row("unreadable", 1, false, FAILURE, "502 provider_failure"),
];

/// A fault (without its braces), the outcome it must come to, and what must stand under `billed`.
type Case = (&'static str, &'static str, &'static str);

/// What can happen to any of them on the way.
const TRANSPORT: [Case; 13] = [
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

/// What the gateway in front of both RPC actions says.
const RPC: [Case; 5] = [
    (r#""kind": "code", "code": "Throttling.User""#, "rate_limited", "no"),
    (r#""kind": "code", "code": "InvalidAccessKeyId.NotFound""#, "account_fault", "no"),
    (r#""kind": "code", "code": "InternalError""#, "provider_error", "unknown"),
    (r#""kind": "code", "code": "SignatureNonceUsed""#, "interrupted", "unknown"),
    // Refused at the door, so nobody counted it.
    (r#""kind": "code", "code": "MissingAction""#, "unreadable", "no"),
];

const ALIYUN: [Case; 9] = [
    (r#""kind": "code", "code": "400""#, "input_refused", "no"),
    (r#""kind": "code", "code": "401""#, "input_refused", "no"),
    (r#""kind": "code", "code": "402", "reason": "unspecified""#, "source_down", "unknown"),
    (r#""kind": "code", "code": "402", "reason": "no_permission""#, "account_fault", "no"),
    (r#""kind": "code", "code": "403""#, "subject_throttled", "unknown"),
    (r#""kind": "code", "code": "410""#, "account_fault", "no"),
    (r#""kind": "code", "code": "411""#, "account_fault", "no"),
    (r#""kind": "code", "code": "412""#, "account_fault", "no"),
    (r#""kind": "code", "code": "500""#, "provider_error", "unknown"),
];

const ALIYUN_INTL: [Case; 6] = [
    (r#""kind": "code", "code": "InvalidParameter""#, "input_refused", "no"),
    (r#""kind": "code", "code": "Forbidden.ExceptionRepeatedInvoke""#, "subject_throttled", "unknown"),
    (r#""kind": "code", "code": "Forbidden.AccountAccessDenied""#, "account_fault", "no"),
    (r#""kind": "code", "code": "Forbidden.RAMUserAccessDenied""#, "account_fault", "no"),
    (r#""kind": "code", "code": "SuspiciousActivity""#, "rate_limited", "no"),
    (r#""kind": "code", "code": "Forbidden.ExceptionDataSource""#, "source_down", "unknown"),
];

/// What the gateway in front of both market services says.
const MARKET: [Case; 9] = [
    (r#""kind": "code", "code": "B403MQ""#, "account_fault", "no"),
    (r#""kind": "code", "code": "Quota Exhausted""#, "account_fault", "no"),
    (r#""kind": "code", "code": "A403IS""#, "account_fault", "no"),
    (r#""kind": "code", "code": "T429MR""#, "rate_limited", "no"),
    (r#""kind": "code", "code": "Throttled by""#, "rate_limited", "no"),
    (r#""kind": "code", "code": "D504TO""#, "timeout", "unknown"),
    (r#""kind": "code", "code": "X500ER""#, "provider_error", "unknown"),
    (r#""kind": "code", "code": "Nonce Used""#, "interrupted", "unknown"),
    // Refused at the door, so nobody counted it.
    (r#""kind": "code", "code": "I400HD""#, "unreadable", "no"),
];

/// HTTP 666 is never billed.
const MUZHIYUN: [Case; 4] = [
    (r#""kind": "code", "code": "姓名有误""#, "input_refused", "no"),
    (r#""kind": "code", "code": "签名校验失败""#, "account_fault", "no"),
    (r#""kind": "code", "code": "存在*字符，视为调试数据""#, "unreadable", "no"),
    (r#""kind": "wrong_echo""#, "unreadable", "unknown"),
];

/// The market counts every HTTP 200, and no document says otherwise.
const YUNYI: [Case; 3] = [
    (r#""kind": "code", "code": "0004""#, "input_refused", "unknown"),
    (r#""kind": "code", "code": "0010""#, "source_down", "unknown"),
    (r#""kind": "wrong_echo""#, "unreadable", "unknown"),
];

fn cases_of(driver: &str) -> Vec<Case> {
    let (shared, own): (&[Case], &[Case]) = match driver {
        "aliyun" => (&RPC, &ALIYUN),
        "aliyun_intl" => (&RPC, &ALIYUN_INTL),
        "muzhiyun" => (&MARKET, &MUZHIYUN),
        "yunyi" => (&MARKET, &YUNYI),
        other => panic!("a new driver needs its cases here: {other}"),
    };
    [&TRANSPORT, shared, own].concat()
}

/// Whoever stands behind the driver under test.
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
    gateway.fault(driver, &format!("{{{fault}}}"));
    gateway
}

async fn walk(driver: &str) {
    let other = other_than(driver);
    for (fault, outcome, billed) in cases_of(driver) {
        let row = TABLE.iter().find(|row| row.outcome == outcome).expect("the table has every outcome");
        let failed = format!("{driver}={outcome}({billed})");
        let all_failed = vec![failed.clone(); row.endpoints];
        let (own_verdict, other_verdict) = (format!("{driver}=verdict(yes)"), format!("{other}=verdict(yes)"));
        let context = format!("{driver} {fault}");

        // One endpoint fails: the next endpoint, or the next provider, and what the breaker learns.
        let here = gateway(driver, &format!("{fault}, \"endpoint\": 0"), &[driver, other], "ask_next").await;
        let reply = here.ask(&anybody()).await;
        let next = if row.endpoints > 1 { own_verdict } else { other_verdict.clone() };
        assert_eq!(reply.attempts(), [failed, next], "{context}, one endpoint");
        let state = if row.failure { "open" } else { "closed" };
        assert_eq!(breaker_of(&here, driver, 0).await, state, "{context}, breaker");
        assert_eq!(breaker_of(&here, driver, 1).await, "closed", "{context}, breaker of the next endpoint");

        // All its endpoints fail, and the policy is to stop where the outcome is unknown.
        let stop = gateway(driver, fault, &[driver, other], "stop").await;
        let reply = stop.ask(&anybody()).await;
        if row.by_policy {
            assert_eq!((in_short(&reply), reply.attempts()), (row.alone.into(), all_failed.clone()), "{context}, stop");
            assert_eq!(stop.sandbox.calls(other), 0, "{context}, stop");
        } else {
            let attempts = [all_failed.clone(), vec![other_verdict]].concat();
            assert_eq!(reply.attempts(), attempts, "{context}, stop");
        }

        // It is the only provider.
        let alone = gateway(driver, fault, &[driver], "ask_next").await;
        let reply = alone.ask(&anybody()).await;
        assert_eq!((in_short(&reply), reply.attempts()), (row.alone.into(), all_failed), "{context}, alone");
        assert_eq!(reply.body["may_have_been_billed"], billed != "no", "{context}, alone");
        assert_eq!(alone.metric("idgate_verdicts_total", &[]).await, 0.0, "{context}: a fault is never a verdict");
    }
}

#[tokio::test]
async fn aliyun_walks_the_whole_table() {
    walk("aliyun").await;
}

#[tokio::test]
async fn aliyun_intl_walks_the_whole_table() {
    walk("aliyun_intl").await;
}

#[tokio::test]
async fn muzhiyun_walks_the_whole_table() {
    walk("muzhiyun").await;
}

#[tokio::test]
async fn yunyi_walks_the_whole_table() {
    walk("yunyi").await;
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
