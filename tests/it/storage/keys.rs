//! Idempotency keys of many replicas.

use futures_util::future::join_all;
use idgate::storage::ledger::{Answer, NotClaimed};

use super::{Place, answer, claim, digest, forgotten, ids, subject};
use crate::support::postgres::Postgres;

#[tokio::test]
#[ignore = "needs postgres"]
async fn of_three_replicas_that_claim_a_key_at_once_one_gets_it() {
    let place = Place::postgres();
    let replicas = join_all(["a", "b", "c"].map(|name| place.replica(name))).await;
    let not_before = place.now_ms() - 1;
    for round in 0..50 {
        let key = format!("k-{round}");
        let all = replicas.iter().map(|ledger| ledger.claim(not_before, None, claim(&key, "somebody")));
        let all = join_all(all).await;
        let won = all.iter().filter(|claimed| claimed.is_ok()).count();
        let lost = all.iter().filter(|claimed| **claimed == Err(NotClaimed::Taken)).count();
        assert_eq!((won, lost), (1, 2), "{key}");
    }
    // The others see whose it is, and its answer.
    let first = replicas[0].claim(not_before, None, claim("shared", "somebody")).await.unwrap().unwrap();
    let known = replicas[1].claimed(&digest("shared"), not_before).await.unwrap().unwrap();
    assert_eq!((known.claim.id, known.is_elsewhere), (first.id, true));
    let id = ids().ordered();
    let answer = Answer { claim: Some(first.id), ..answer(id, "somebody", "match") };
    replicas[0].write(answer.borrowed(), Default::default()).await.unwrap();
    let known = replicas[1].claimed(&digest("shared"), not_before).await.unwrap().unwrap();
    assert_eq!((known.answer.map(|answer| answer.id), known.is_elsewhere), (Some(id), false));
    replicas[2].forget(forgotten("somebody")).await.unwrap();
    assert_eq!(replicas[1].claimed(&digest("shared"), not_before).await.unwrap(), None);
    assert_eq!(replicas[0].claims_about(&subject("somebody"), not_before).await.unwrap(), 0);
    join_all(replicas.iter().map(|ledger| ledger.close())).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn a_key_that_was_given_back_or_whose_replica_died_is_taken_over_by_one() {
    let (place, server) = (Place::postgres(), Postgres::shared());
    let replicas = join_all(["a", "b", "c"].map(|name| place.replica(name))).await;
    let not_before = place.now_ms() - 1;
    let [a, b, c] = &replicas[..] else { unreachable!() };
    let is_elsewhere = async |ledger: &idgate::storage::ledger::Ledger, key: &str| {
        ledger.claimed(&digest(key), not_before).await.unwrap().unwrap().is_elsewhere
    };
    let given = a.claim(not_before, None, claim("given", "somebody")).await.unwrap().unwrap();
    assert!(is_elsewhere(b, "given").await);
    a.release(given.id, 0).await;
    assert!(!is_elsewhere(b, "given").await);
    assert!(is_elsewhere(a, "given").await, "it is the other one's now");
    a.release(given.id, 0).await;
    assert!(is_elsewhere(a, "given").await, "what is not held cannot be given back");
    // A look-up by its own replica keeps what an ended request gives back late.
    let late = a.claim(not_before, None, claim("late", "somebody")).await.unwrap().unwrap();
    assert!(!is_elsewhere(a, "late").await);
    a.release(late.id, 0).await;
    assert!(is_elsewhere(b, "late").await);
    // Its replica is silent.
    a.claim(not_before, None, claim("silent", "somebody")).await.unwrap().unwrap();
    a.close().await;
    server.sql(place.database(), "UPDATE idgate.replicas SET seen_ms = seen_ms - 11000 WHERE replica = 'a'");
    let took = join_all([is_elsewhere(b, "silent"), is_elsewhere(c, "silent")]).await;
    assert_eq!(took.iter().filter(|is_elsewhere| !**is_elsewhere).count(), 1, "{took:?}");
    join_all([b.close(), c.close()]).await;
}
