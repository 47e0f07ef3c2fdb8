//! `POST /v1/verify`: every code and header that is promised is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use idgate::domain::clock::Ids;
use uuid::Uuid;

use super::super::{bearer, client};
use super::Seen;
use crate::ledger::{Folder, connection};
use crate::support::{Pair, Reply, TestGateway, anybody, eventually};

const ASK: &str = "POST /v1/verify";
const KEY: &str = "idg_synthetic-one";
const WAIT: (&str, &str) = ("prefer", "wait=5");
const AT_ONCE: (&str, &str) = ("prefer", "wait=0");

async fn ask_as(seen: &mut Seen, gateway: &TestGateway, key: &str, pair: &Pair, more: &[(&str, &str)]) -> Reply {
    let key = bearer(key);
    let headers = [&[("authorization", key.as_str())][..], more].concat();
    seen.ask_at(gateway, ASK, "", &pair.body().to_string(), &headers).await
}

async fn ask(seen: &mut Seen, gateway: &TestGateway, pair: &Pair, more: &[(&str, &str)]) -> Reply {
    ask_as(seen, gateway, KEY, pair, more).await
}

#[tokio::test]
async fn a_question_has_the_codes_and_headers_that_it_can_be_made_to_answer_with() {
    let mut seen = Seen::default();
    without_ledger(&mut seen).await;
    with_ledger(&mut seen).await;
    hanging(&mut seen).await;
    defective(&mut seen).await;
    seen.assert_all_seen(ASK);
}

async fn without_ledger(seen: &mut Seen) {
    let sections = client("one", KEY, "")
        + &client("slow", "idg_synthetic-slow", "rate_limit = 1\nburst = 1")
        + &client("modest", "idg_synthetic-modest", "no_cache = false")
        + "[server]\nbody_timeout = \"200ms\"\n";
    let gateway = TestGateway::new().chain(&["aliyun"]).over(sections).start().await;
    let key = bearer(KEY);
    let known = anybody();
    for header in ["cache-status", "age"] {
        let reply = ask(seen, &gateway, &known, &[WAIT]).await;
        assert!(reply.status == 200 && reply.headers.contains_key(header), "{reply:?}");
    }
    for is_replayed in [false, true] {
        let reply = ask(seen, &gateway, &anybody_under_one_key(), &[("idempotency-key", "k-0")]).await;
        assert_eq!(reply.headers.contains_key("idempotency-replayed"), is_replayed);
    }
    let post = async |seen: &mut Seen, body: &str, more: &[(&str, &str)]| {
        let headers = [&[("authorization", key.as_str())][..], more].concat();
        seen.ask_at(&gateway, ASK, "", body, &headers).await.code().to_owned()
    };
    let body = known.body().to_string();
    assert_eq!(post(seen, "{", &[]).await, "malformed_request");
    assert_eq!(seen.ask(&gateway, ASK, &[]).await.code(), "unauthenticated");
    let refused = ask_as(seen, &gateway, "idg_synthetic-modest", &known, &[("cache-control", "no-cache")]).await;
    assert_eq!(refused.code(), "forbidden");
    assert_eq!(post(seen, &body, &[("accept", "text/html")]).await, "not_acceptable");
    seen.stall(&gateway, ASK, "/v1/verify", &key).await;
    assert_eq!(post(seen, &"x".repeat(20_000), &[]).await, "payload_too_large");
    assert_eq!(post(seen, &body, &[("content-type", "text/plain")]).await, "unsupported_media_type");
    assert_eq!(post(seen, &body, &[("x-padding", &"a".repeat(20_000))]).await, "headers_too_large");
    for (name, id_number, code) in [
        ("张\u{0}三", "11010519491231002X", "invalid_name"),
        ("张三", "110105194912310021", "invalid_id_number"),
        ("SAMPLE, TEST ANN", "911840199001019987", "unsupported_document"),
    ] {
        assert_eq!(ask(seen, &gateway, &Pair::new(name, id_number), &[WAIT]).await.code(), code);
    }
    let reused = ask(seen, &gateway, &known, &[("idempotency-key", "k-0")]).await;
    assert_eq!(reused.code(), "idempotency_key_reused");
    for n in 0..1000 {
        if ask_as(seen, &gateway, "idg_synthetic-slow", &known, &[]).await.code() == "rate_limited" {
            break;
        }
        assert!(n < 999, "one a second is never exceeded");
    }
    let number = anybody().id_number;
    let names = (0..6_u32).map(|n| format!("张{}", char::from_u32(0x4e00 + n).unwrap()));
    let mut told = String::new();
    for name in names {
        told = ask(seen, &gateway, &Pair::new(&name, &number), &[WAIT]).await.code().to_owned();
    }
    assert_eq!(told, "enumeration_suspected");
    assert_eq!(
        ask(seen, &gateway, &anybody(), &[WAIT, ("cache-control", "only-if-cached")]).await.code(),
        "not_cached"
    );
    for (fault, code) in [
        (r#"{"kind": "outcome", "outcome": "input_refused"}"#, "rejected_by_provider"),
        (r#"{"kind": "outcome", "outcome": "subject_throttled"}"#, "subject_throttled"),
        (r#"{"kind": "status", "status": 500}"#, "provider_failure"),
        (r#"{"kind": "reset"}"#, "provider_failure"),
        (r#"{"kind": "outcome", "outcome": "account_fault"}"#, "no_provider_available"),
    ] {
        gateway.fault("aliyun", fault);
        if code == "no_provider_available" {
            ask(seen, &gateway, &anybody(), &[WAIT]).await;
        }
        let asked = anybody();
        assert_eq!(ask(seen, &gateway, &asked, &[WAIT]).await.code(), code);
        // A call that broke may yet be billed, so the question is not asked again for a while.
        if fault.contains("reset") {
            let again = ask(seen, &gateway, &asked, &[WAIT]).await;
            assert!(again.code() == code && again.headers.contains_key("retry-after"), "{again:?}");
        }
    }
}

/// The same person each time.
fn anybody_under_one_key() -> Pair {
    crate::support::person(900_001)
}

async fn with_ledger(seen: &mut Seen) {
    let folder = Folder::new();
    let sections = client("one", KEY, "")
        + &client("poor", "idg_synthetic-poor", "")
        + "[clients.poor.budget]\ncalls_per_day = 1\n";
    let gateway = folder.gateway().chain(&["aliyun"]).over(sections).start().await;
    for code in ["", "budget_exhausted"] {
        assert_eq!(ask_as(seen, &gateway, "idg_synthetic-poor", &anybody(), &[WAIT]).await.code(), code);
    }
    sqlx::raw_sql("ALTER TABLE entries RENAME TO lost").execute(&mut connection(&folder).await).await.unwrap();
    let refused = ask(seen, &gateway, &anybody(), &[WAIT, ("idempotency-key", "k-1")]).await;
    assert_eq!(refused.code(), "ledger_unavailable");
}

/// What is told while calls hang, and while the process goes down.
async fn hanging(seen: &mut Seen) {
    let sections = client("one", KEY, "") + "[server]\nmax_in_flight = 2\ndrain_timeout = \"1s\"\n";
    let gateway = TestGateway::new().chain(&["aliyun"]).over(sections).start().await;
    gateway.fault("aliyun", r#"{"kind": "hang"}"#);
    let (first, second) = (anybody(), anybody());
    let waiting = async |pair: &Pair, key: &str| {
        let headers = [("authorization", &*bearer(KEY)), ("idempotency-key", key), ("prefer", "wait=30")];
        gateway.ask_with(pair, &headers).await
    };
    let others = async |seen: &mut Seen| {
        eventually("both places are taken", async || gateway.sandbox.calls("aliyun") == 2).await;
        assert_eq!(ask(seen, &gateway, &anybody(), &[WAIT]).await.code(), "overloaded");
        let at_work = ask(seen, &gateway, &first, &[AT_ONCE, ("idempotency-key", "k-1")]).await;
        assert_eq!(at_work.code(), "idempotency_in_progress");
        assert_eq!(ask(seen, &gateway, &second, &[AT_ONCE]).await.code(), "outcome_unknown");
        gateway.begin_stop();
    };
    let (one, other, ()) = tokio::join!(waiting(&first, "k-1"), waiting(&second, "k-2"), others(seen));
    for reply in [one, other] {
        assert_eq!(reply.code(), "shutting_down");
        seen.note(ASK, &reply);
    }
}

/// A defect in a call.
async fn defective(seen: &mut Seen) {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&is_armed);
    let nonce = move || {
        assert!(!armed.swap(false, Ordering::SeqCst), "a defect");
        Uuid::new_v4()
    };
    let ids = Ids::new(nonce, Uuid::now_v7);
    let gateway = TestGateway::new().ids(ids).over(client("one", KEY, "")).start().await;
    is_armed.store(true, Ordering::SeqCst);
    assert_eq!(ask(seen, &gateway, &anybody(), &[WAIT]).await.code(), "internal");
}
