//! What is kept by the date: budgets, daily caps, packages, expiries and the times of entries.

use sha2::{Digest as _, Sha256};

use super::*;
use crate::support::Reply;

const KEY: &str = "idg_synthetic-key";

fn client(more: &str) -> String {
    let hash = hex::encode(Sha256::digest(KEY));
    format!("[clients.payout]\nkeys = [{{ id = \"k\", sha256 = \"{hash}\" }}]\n{more}\n")
}

async fn ask(gateway: &TestGateway) -> Reply {
    gateway.ask_with(&anybody(), &[("authorization", &format!("Bearer {KEY}"))]).await
}

#[tokio::test]
async fn one_question_at_a_wrong_date_freezes_no_budget_and_frees_none() {
    for wrong in [40 * DAY, -40 * DAY, DAY, -DAY] {
        let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
        let budget = client("[clients.payout.budget]\ncalls_per_day = 2\ncalls_per_month = 4");
        let running = gateway(&folder, &clock).over(budget).start().await;
        assert_eq!(ask(&running).await.verdict(), "match");
        hands.set(wrong);
        assert_eq!(ask(&running).await.verdict(), "match");
        let refused = ask(&running).await;
        assert_eq!(refused.code(), "budget_exhausted", "{wrong}: no new day");
        assert_eq!(refused.header("retry-after"), "50400", "until the midnight of the right day");
        hands.set(0);
        assert_eq!(ask(&running).await.code(), "budget_exhausted", "{wrong}: the sums of the right day");
        hands.pass(DAY);
        for expected in ["", "", "budget_exhausted"] {
            assert_eq!(ask(&running).await.code(), expected, "{wrong}: the next day has its own budget");
        }
        hands.pass(DAY);
        assert_eq!(ask(&running).await.code(), "budget_exhausted", "{wrong}: the month has four calls");
        hands.pass(6 * DAY);
        assert_eq!(ask(&running).await.code(), "", "{wrong}: the next month begins");
        assert!(running.stop().await);
    }
}

#[tokio::test]
async fn a_date_that_was_believed_for_a_day_is_left_again_with_what_was_spent() {
    let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
    let budget = client("[clients.payout.budget]\ncalls_per_month = 3");
    let running = gateway(&folder, &clock).over(budget).start().await;
    assert_eq!(ask(&running).await.code(), "");
    for wrong in [40 * DAY, 0] {
        hands.set(wrong);
        clock.now();
        hands.pass(HOUR);
        clock.now();
        assert_eq!(ask(&running).await.code(), "", "{wrong}");
        hands.pass(23 * HOUR);
    }
    assert_eq!(clock.turns(), 2);
    assert_eq!(ask(&running).await.code(), "budget_exhausted");
    hands.pass(5 * DAY);
    assert_eq!(ask(&running).await.code(), "", "the next month begins");
    assert!(running.stop().await);
}

#[tokio::test]
async fn a_wrong_date_gives_no_second_daily_cap_and_ends_no_key() {
    for wrong in [40 * DAY, -40 * DAY] {
        let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
        let mut section = client("daily_cap = 2");
        section = section.replace("\" }]", "\", expires = \"2026-12-01T00:00:00Z\" }]");
        let running = gateway(&folder, &clock).over(section).start().await;
        for wrong in [0, wrong] {
            hands.set(wrong);
            assert_eq!(ask(&running).await.code(), "", "{wrong}");
        }
        for wrong in [wrong, 0] {
            hands.set(wrong);
            assert_eq!(ask(&running).await.code(), "rate_limited", "{wrong}");
        }
        hands.pass(DAY);
        assert_eq!(ask(&running).await.code(), "");
        hands.pass(6 * DAY);
        assert_eq!(ask(&running).await.code(), "unauthenticated", "the key has ended");
        hands.set(-40 * DAY);
        assert_eq!(ask(&running).await.code(), "unauthenticated", "and a step back does not revive it");
        assert!(running.stop().await);
    }
}

#[tokio::test]
async fn a_wrong_date_counts_a_package_down_all_the_same() {
    for wrong in [40 * DAY, -40 * DAY] {
        let (folder, (hands, clock)) = (Folder::new(), Hands::new(MORNING.parse().unwrap()));
        let package = format!(
            "[[providers.{TIMELESS}.packages]]\nid = \"2026-11\"\ncalls = 10\nbought = \"2026-11-20\"\nends = \"2026-11-30\"\n"
        );
        let running = gateway(&folder, &clock).over(package.clone()).start().await;
        for wrong in [0, wrong, 0] {
            hands.set(wrong);
            assert_eq!(running.ask(&anybody()).await.verdict(), "match");
        }
        let left = async |gateway: &TestGateway| gateway.metric("idgate_package_remaining_calls", &[]).await;
        assert_eq!(left(&running).await, 7.0, "{wrong}");
        assert!(running.stop().await);
        // The record agrees after a restart, because its times are those of the right clock.
        let again = gateway(&folder, &clock).over(package).start().await;
        assert_eq!(left(&again).await, 7.0, "{wrong}");
        assert!(again.stop().await);
        folder.assert_sound().await;
    }
}
