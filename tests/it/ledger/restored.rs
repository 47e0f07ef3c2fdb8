//! What a gateway restores from the ledger of the one before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use idgate::domain::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Folder, client, eventually};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

const NO_CACHE: &[(&str, &str)] = &[("cache-control", "no-cache")];
const ONLY_IF_CACHED: &[(&str, &str)] = &[("cache-control", "only-if-cached")];
const REPEATED: &str = r#"{"kind": "outcome", "outcome": "subject_throttled", "times": 1}"#;

fn in_chain(folder: &Folder) -> Builder {
    folder.gateway().chain(&["aliyun"])
}

async fn restored(gateway: &TestGateway) -> Value {
    serde_json::from_str::<Value>(&gateway.admin_get("/v1/status").await.1).unwrap()["restored"].clone()
}

async fn until_restored(gateway: &TestGateway) {
    eventually("the ledger has been read", async || restored(gateway).await["state"] == "done").await;
}

#[tokio::test]
async fn a_restart_keeps_holds_and_call_limits_and_knows_who_was_billed() {
    // Looked up as soon as the question comes, and restored before it comes.
    for waits in [false, true] {
        let folder = Folder::new();
        let before = in_chain(&folder).start().await;
        before.fault("aliyun", REPEATED);
        let (held, often, billed) = (anybody(), anybody(), anybody());
        assert_eq!(before.ask(&held).await.code(), "subject_throttled");
        for _ in 0..5 {
            before.ask_with(&often, NO_CACHE).await;
        }
        before.ask(&billed).await;
        assert!(before.stop().await);

        let after = in_chain(&folder).start().await;
        if waits {
            until_restored(&after).await;
        }
        let refused = after.ask(&held).await;
        assert_eq!(refused.attempts(), ["aliyun=skipped_hold(no)"], "{refused:?}");
        let left: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=600).contains(&left), "{left}");
        assert_eq!(after.ask_with(&often, NO_CACHE).await.attempts(), ["aliyun=skipped_hold(no)"]);
        assert_eq!(after.sandbox.calls("aliyun"), 0);
        assert_eq!(after.ask_with(&billed, NO_CACHE).await.source(), "provider");
        assert_eq!(
            after.metric("idgate_duplicate_bills_total", &[]).await,
            1.0,
            "it was paid for on purpose, and told"
        );
    }
}

#[tokio::test]
async fn who_was_forgotten_does_not_come_back_with_a_restart() {
    let folder = Folder::new();
    let before = in_chain(&folder).start().await;
    let (forgotten, again, later) = (anybody(), anybody(), anybody());
    for pair in [&forgotten, &again, &later] {
        before.ask(pair).await;
    }
    for pair in [&forgotten, &again] {
        assert_eq!(forget(&before, pair).await.status, 200);
    }
    before.ask(&again).await;
    assert!(before.stop().await);

    let after = in_chain(&folder).start().await;
    // Forgotten by the new process, whether or not it has read the ledger.
    assert_eq!(forget(&after, &later).await.status, 200);
    until_restored(&after).await;
    assert_eq!(after.ask_with(&again, ONLY_IF_CACHED).await.verdict(), "match", "asked about since");
    for pair in [&forgotten, &later] {
        assert_eq!(after.ask_with(pair, ONLY_IF_CACHED).await.code(), "not_cached");
    }
}

#[tokio::test]
async fn under_another_digest_key_or_without_a_ledger_nothing_is_restored_and_the_status_says_so() {
    let folder = Folder::new();
    let (before, pair) = (in_chain(&folder).start().await, anybody());
    before.ask(&pair).await;
    assert!(before.stop().await);
    let other = "[cache]\ndigest_key = { value = \"synthetic-digest-key-fedcba9876543210\" }";
    let after = in_chain(&folder).over(other).start().await;
    until_restored(&after).await;
    assert_eq!((after.ask(&pair).await.source(), &restored(&after).await["verdicts"]), ("provider", &0.into()));
    let without = TestGateway::new().chain(&["aliyun"]).start().await;
    assert_eq!((without.ask(&pair).await.source(), &restored(&without).await["state"]), ("provider", &"off".into()));
}

#[tokio::test]
async fn every_client_and_every_purpose_gets_its_own_verdicts_back() {
    let folder = Folder::new();
    let more = "purposes = [\"default\", \"payout\", \"plain\"]\n";
    let toml = client("one", "idg_synthetic-a")
        + more
        + &client("two", "idg_synthetic-b")
        + more
        + "[purposes.payout]\norder = [\"yunyi\"]\n[purposes.plain]\n[cache]\nsharing = \"per_client\"";
    let start = async || in_chain(&folder).over(toml.clone()).start().await;
    let ask = async |gateway: &TestGateway, pair: &Pair, key: &str, purpose: &str| {
        let mut body = pair.body();
        body["purpose"] = purpose.into();
        gateway.post(body.to_string(), &[("authorization", &*format!("Bearer {key}"))]).await
    };
    let (before, pair) = (start().await, anybody());
    for (key, purpose) in [("idg_synthetic-a", "payout"), ("idg_synthetic-b", "plain")] {
        assert_eq!(ask(&before, &pair, key, purpose).await.source(), "provider");
    }
    assert!(before.stop().await);
    let after = start().await;
    until_restored(&after).await;
    for (key, purpose, source) in [
        ("idg_synthetic-a", "payout", "cache"),
        ("idg_synthetic-a", "default", "provider"),
        ("idg_synthetic-b", "default", "cache"),
        ("idg_synthetic-b", "payout", "provider"),
    ] {
        assert_eq!(ask(&after, &pair, key, purpose).await.source(), source, "{key} {purpose}");
    }
}

#[tokio::test]
async fn a_verdict_that_nobody_waited_for_is_restored_too() {
    let folder = Folder::new();
    let before = in_chain(&folder).start().await;
    before.fault("aliyun", r#"{"kind": "slow", "delay": "300ms", "times": 1}"#);
    let pair = anybody();
    let url = format!("http://{}/v1/verify", before.public);
    let request = before.http.post(url).header("content-type", "application/json").body(pair.body().to_string());
    let asking = tokio::spawn(request.send());
    eventually("the call is under way", async || before.sandbox.calls("aliyun") == 1).await;
    asking.abort();
    let _ = asking.await;
    // The drain waits for the call.
    assert!(before.stop().await);
    let after = in_chain(&folder).start().await;
    let again = after.ask(&pair).await;
    assert_eq!((again.verdict(), again.source(), after.sandbox.calls("aliyun")), ("match", "cache", 0), "{again:?}");
}

#[tokio::test]
async fn an_age_is_never_less_than_it_is_and_an_old_verdict_is_not_restored() {
    let folder = Folder::new();
    let ahead_ms = Arc::new(AtomicI64::new(0));
    let clock = || {
        let ahead_ms = Arc::clone(&ahead_ms);
        Clock::new(move || {
            #[expect(clippy::disallowed_methods, reason = "a clock that is wrong by so much")]
            let now = Timestamp::now();
            now + SignedDuration::from_millis(ahead_ms.load(Ordering::Relaxed))
        })
    };
    let start = async || in_chain(&folder).over("[cache]\nmatch_ttl = \"10m\"").clock(clock()).start().await;
    let (before, pair) = (start().await, anybody());
    before.ask(&pair).await;
    assert!(before.stop().await);
    for (ahead, source) in [(-60, None), (60, Some(60)), (599, Some(599)), (601, None)] {
        ahead_ms.store(ahead * 1000, Ordering::Relaxed);
        let after = start().await;
        until_restored(&after).await;
        let again = after.ask_with(&pair, ONLY_IF_CACHED).await;
        match source {
            // If the test takes a second or more, the last of them is too old.
            Some(least) if again.status == 200 => {
                assert!(again.header("age").parse::<i64>().unwrap() >= least, "{ahead}: {again:?}");
            }
            Some(least) => assert!(least == 599, "{ahead}: {again:?}"),
            None => assert_eq!(again.code(), "not_cached", "{ahead}: {again:?}"),
        }
        let fresher = [("cache-control", "only-if-cached, max-age=30")];
        assert_eq!(after.ask_with(&pair, &fresher).await.code(), "not_cached", "{ahead}");
        assert!(after.stop().await);
    }
}

async fn forget(gateway: &TestGateway, pair: &Pair) -> Reply {
    let url = format!("http://{}/v1/subjects/forget", gateway.admin);
    let request = gateway.http.post(url).header("content-type", "application/json");
    Reply::of(request.body(pair.body().to_string()).send().await.unwrap()).await
}
