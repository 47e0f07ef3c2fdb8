//! Limits of clients over several replicas: rates, daily caps, numbers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Replica;
use crate::support::eventually;
use crate::support::services::{Forwarder, RedisServer, Traffic};

const SECOND: Duration = Duration::from_secs(1);

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_a_client_was_admitted_at_one_replica_is_a_debt_at_all() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&forwarder.address(), "other").await);
    let name = Arc::from("bank");
    let (here, there) = (one.shared.client(&name).unwrap(), other.shared.client(&name).unwrap());
    assert!(Arc::ptr_eq(&here, &one.shared.client(&name).unwrap()), "a reload finds it again");
    // One a minute, sixty at once.
    let (rate, burst) = (number(1), number(60));
    for left in (0..60).rev() {
        assert_eq!(here.admit(rate, burst), Ok(left));
    }
    assert!(here.admit(rate, burst).is_err_and(|wait| wait <= SECOND));
    // Each question of the other is one too many, until it has heard of them.
    let refused = async || there.admit(rate, burst).is_err();
    eventually("the other pays", refused).await;
    let wait = there.admit(rate, burst).unwrap_err();
    assert!(wait < 60 * SECOND, "{wait:?}");
    // Away, it has a third of the rate, and nothing of what was used up comes back.
    forwarder.set(Traffic::Stalls);
    eventually("it is away", async || !other.shared.is_up()).await;
    assert!(there.admit(rate, burst).is_err());
    let fresh = other.shared.client(&Arc::from("another")).unwrap();
    let admitted = (0..60).filter(|_| fresh.admit(rate, burst).is_ok()).count();
    assert_eq!(admitted, 20);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_daily_cap_is_that_of_all_replicas_and_of_their_earlier_processes() {
    let redis = RedisServer::start();
    let forwarder = Forwarder::to(&redis.socket());
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&forwarder.address(), "other").await);
    let (name, day, cap) = (Arc::from("bank"), 740_000, number(100));
    let (here, there) = (one.shared.client(&name).unwrap(), other.shared.client(&name).unwrap());
    let asked = |share: &idgate::storage::shared::ClientShare, from: u32, most: u32| {
        (from..from + most).take_while(|own| share.may_ask(day, *own, cap)).count()
    };
    assert_eq!(asked(&here, 0, 60), 60);
    // What it hears makes room for forty.
    let heard = async || {
        let may = there.may_ask(day, 40, cap);
        if may {
            // It was counted for nothing.
            there.may_ask(day, 0, number(1));
        }
        !may
    };
    eventually("the other has heard", heard).await;
    assert_eq!(asked(&there, 0, 100), 40);
    // A restart keeps what was asked before it.
    drop(one);
    let again = Replica::up(&redis.address(), "one").await;
    let here = again.shared.client(&name).unwrap();
    here.may_ask(day, 0, cap);
    eventually("it is known after a restart", async || !here.may_ask(day, 40, cap)).await;
    // Away, a third of what was left.
    let (late, cap) = (other.shared.client(&Arc::from("late")).unwrap(), number(90));
    forwarder.set(Traffic::Stalls);
    eventually("it is away", async || !other.shared.is_up()).await;
    assert_eq!((0..90).take_while(|own| late.may_ask(day, *own, cap)).count(), 30);
    forwarder.set(Traffic::Flows);
    eventually("all of it is there again", async || late.may_ask(day, 60, cap)).await;
    assert!(there.may_ask(day + 1, 0, cap), "another day");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn numbers_are_counted_over_all_replicas_within_two_in_a_hundred() {
    let redis = RedisServer::start();
    let (one, other) = (Replica::up(&redis.address(), "one").await, Replica::up(&redis.address(), "other").await);
    let (client, window) = ([7; 8], 3600 * SECOND);
    for n in 0..1000_u64 {
        // Half of them at both.
        one.shared.asked_about(client, n.to_be_bytes(), window);
        other.shared.asked_about(client, (n + 500).to_be_bytes(), window);
    }
    let counted = async || {
        let counts = one.shared.numbers_of(&[client, [8; 8]], window).await.unwrap();
        (1470..=1530).contains(&counts[0]) && counts[1] == 0
    };
    eventually("both have told", counted).await;
}
