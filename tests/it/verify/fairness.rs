//! What clients share: whoever stays within its share is served, whatever the others ask for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use super::{NO_CACHE, in_short, unhurried, until};
use crate::support::{Builder, Pair, Reply, TestGateway, anybody};

const HANGS: &str = r#"{"kind": "hang"}"#;

/// A section of a client whose key is its name.
fn client(name: &str, more: &str) -> String {
    let hash = hex::encode(Sha256::digest(name));
    format!("[clients.{name}]\nkeys = [{{ id = \"{name}-1\", sha256 = \"{hash}\" }}]\nrate_limit = 10000\n{more}\n")
}

fn shared_by(clients: &[&str]) -> Builder {
    let sections: String = clients.iter().map(|name| client(name, "")).collect();
    unhurried(TestGateway::new()).chain(&["aliyun"]).over(sections)
}

async fn ask(gateway: &TestGateway, client: &str, pair: &Pair) -> Reply {
    gateway.ask_with(pair, &[("authorization", &format!("Bearer {client}"))]).await
}

async fn refusals(gateway: &TestGateway, client: &str, capacity: &str, share: &str) -> f64 {
    let labels = [("client", client), ("capacity", capacity), ("share", share)];
    gateway.metric("idgate_capacity_refusals_total", &labels).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_client_far_above_the_providers_rate_leaves_a_payout_client_its_answers() {
    let gateway = shared_by(&["bulk", "payout"]).over("[providers.aliyun]\nrate_limit = 20").start().await;
    let (answered, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let payout = async {
        let sure = "the rate is used up, again and again";
        until(sure, async || refused.load(Ordering::Relaxed) > 100).await;
        let (before, mut replies) = (refused.load(Ordering::Relaxed), Vec::new());
        for _ in 0..20 {
            replies.push(in_short(&ask(&gateway, "payout", &anybody()).await));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (replies, refused.load(Ordering::Relaxed) - before)
    };
    let bulk = join_all([(); 8].map(|()| async { bulk_forever(&gateway, &answered, &refused).await }));
    let (replies, refused_meanwhile) =
        tokio::select! { _ = bulk => unreachable!("it never ends"), done = payout => done };
    assert_eq!(replies, vec!["aliyun match (provider)"; 20]);
    assert!(refused_meanwhile > 20, "the bulk client was refused {refused_meanwhile} times meanwhile");
    assert!(answered.load(Ordering::Relaxed) > 20, "what the payout client leaves is lent");
    assert!(refusals(&gateway, "bulk", "rate", "above").await > 100.0);
    assert_eq!(refusals(&gateway, "payout", "rate", "within").await, 0.0);
}

async fn bulk_forever(gateway: &TestGateway, answered: &AtomicU64, refused: &AtomicU64) {
    loop {
        let reply = ask(gateway, "bulk", &anybody()).await;
        let count = if reply.status == 200 { answered } else { refused };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_for_one_call_that_hangs_take_no_place_from_remembered_answers_nor_from_other_calls() {
    let gateway = shared_by(&["one", "two", "three"]).over("[server]\nmax_in_flight = 20").start().await;
    let remembered = anybody();
    assert_eq!(ask(&gateway, "three", &remembered).await.source(), "provider");
    gateway.fault("aliyun", HANGS);
    let (stuck, refused) = (anybody(), AtomicU64::new(0));
    let crowd = join_all((0..80).map(async |n| {
        let reply = ask(&gateway, ["one", "two"][n % 2], &stuck).await;
        assert_eq!(in_short(&reply), "503 overloaded");
        refused.fetch_add(1, Ordering::Relaxed);
        // The others hang.
        std::future::pending::<()>().await;
    }));
    let third = async {
        until("no more of them may wait", async || refused.load(Ordering::Relaxed) >= 55).await;
        assert_eq!(in_short(&ask(&gateway, "three", &remembered).await), "aliyun match (cache)");
        until("their call hangs", async || gateway.sandbox.calls("aliyun") == 2).await;
        gateway.mend("aliyun");
        assert_eq!(in_short(&ask(&gateway, "three", &anybody()).await), "aliyun match (provider)");
        assert_eq!(in_short(&ask(&gateway, "one", &remembered).await), "aliyun match (cache)");
        assert_eq!(gateway.sandbox.calls("aliyun"), 3, "one call for all who wait");
    };
    tokio::select! { _ = crowd => unreachable!("the others hang"), () = third => {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_calls_hang_leaves_the_others_a_place_and_a_slot() {
    for (limit, capacity) in
        [("[server]\nmax_in_flight = 10", "calls"), ("[providers.aliyun]\nmax_concurrency = 10", "slots")]
    {
        let gateway = shared_by(&["bulk", "payout"]).over(limit).start().await;
        gateway.fault("aliyun", HANGS);
        let refused = AtomicU64::new(0);
        let bulk = join_all((0..30).map(async |_| {
            loop {
                let reply = ask(&gateway, "bulk", &anybody()).await;
                assert_eq!(reply.status, 503, "{reply:?}");
                // Refused while others were being read: once more.
                if gateway.sandbox.calls("aliyun") == 9 {
                    refused.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }
            }
        }));
        let payout = async {
            until("nine are lent", async || refused.load(Ordering::Relaxed) == 21).await;
            assert!(refusals(&gateway, "bulk", capacity, "above").await > 0.0, "{capacity}");
            gateway.mend("aliyun");
            for _ in 0..5 {
                let reply = gateway.ask_with(&anybody(), &[("authorization", "Bearer payout"), NO_CACHE[0]]).await;
                assert_eq!(in_short(&reply), "aliyun match (provider)", "{capacity}");
            }
        };
        tokio::select! { _ = bulk => unreachable!("nine hang"), () = payout => {} }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purpose_of_high_priority_has_a_share_of_its_own() {
    let sections = client("shop", "purposes = [\"default\", \"payout\"]") + "[purposes.payout]\npriority = \"high\"\n";
    let limit = "[providers.aliyun]\nmax_concurrency = 10";
    let gateway = unhurried(TestGateway::new()).chain(&["aliyun"]).over(sections).over(limit).start().await;
    gateway.fault("aliyun", HANGS);
    let bulk = join_all((0..30).map(async |_| {
        let reply = ask(&gateway, "shop", &anybody()).await;
        assert_eq!(reply.status, 503);
        std::future::pending::<()>().await;
    }));
    let payout = async {
        until("nine are lent", async || refusals(&gateway, "shop", "slots", "above").await >= 21.0).await;
        // A call that is still on its way would be answered.
        until("nine hang", async || gateway.sandbox.calls("aliyun") == 9).await;
        gateway.mend("aliyun");
        let mut body = anybody().body();
        body["purpose"] = "payout".into();
        let reply = gateway.post(body.to_string(), &[("authorization", "Bearer shop")]).await;
        assert_eq!(in_short(&reply), "aliyun match (provider)");
    };
    tokio::select! { _ = bulk => unreachable!("nine hang"), () = payout => {} }
}
