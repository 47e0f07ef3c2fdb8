//! Claims on idempotency keys, in the database and in the spool.

use super::*;
use crate::domain::subject::Digest;

fn key(n: u8) -> Digest {
    DigestKey::new([7; 32]).digest("key", &[&[n]])
}

pub(super) async fn claim(ledger: &Ledger, n: u8) -> Claim {
    let claim = |id, at_ms| Claim {
        id,
        at_ms,
        client: "payout".to_owned(),
        outcome: "claimed".to_owned(),
        key: key(n).to_hex(),
        body: key(100 + n).to_hex(),
        subject: subject(),
    };
    ledger.claim(i64::MIN, None, claim).await.unwrap().unwrap()
}

async fn forget(ledger: &Ledger) {
    let forgotten = |id, at_ms| Forgotten {
        id,
        at_ms,
        client: String::new(),
        outcome: "forgotten".to_owned(),
        subject: subject(),
        operator: "somebody".to_owned(),
        reason: None,
    };
    ledger.forget(forgotten).await.unwrap();
}

/// Writes an answer to a claim: `match` has a verdict and finishes it, other outcomes do not.
async fn finish(ledger: &Ledger, claim: &Claim, outcome: &str) {
    let source = (outcome == "match").then(|| "provider".to_owned());
    let answer = Answer { claim: Some(claim.id), source, ..answer(outcome) };
    ledger.write(answer.borrowed(), Flight::NONE).await.unwrap();
}

/// Whether a key is claimed, and whether the claim is finished.
pub(super) async fn state(ledger: &Ledger, n: u8) -> (bool, bool) {
    let claimed = ledger.claimed(&key(n), 0).await.unwrap();
    (claimed.is_some(), claimed.is_some_and(|claimed| claimed.answer.is_some()))
}

#[tokio::test]
async fn a_claim_is_finished_by_a_verdict_and_ended_by_forgetting_wherever_both_are_kept() {
    for spooled in [false, true] {
        let folder = Folder::new(&format!("claims-{spooled}"));
        let ledger = folder.open().await;
        let before = claim(&ledger, 1).await;
        let mut other = folder.connection().await;
        if spooled {
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        }
        assert_eq!(state(&ledger, 2).await, (false, false));
        let second = claim(&ledger, 2).await;
        for claim in [&before, &second] {
            finish(&ledger, claim, "outcome_unknown").await;
        }
        assert_eq!((state(&ledger, 1).await, state(&ledger, 2).await), ((true, false), (true, false)));
        for claim in [&before, &second] {
            finish(&ledger, claim, "match").await;
        }
        assert_eq!((state(&ledger, 1).await, state(&ledger, 2).await), ((true, true), (true, true)));
        assert!(ledger.claimed(&key(2), second.at_ms + 1).await.unwrap().is_none(), "it is too old");
        forget(&ledger).await;
        assert_eq!((state(&ledger, 1).await, state(&ledger, 2).await), ((false, false), (false, false)));
        claim(&ledger, 2).await;
        let now = async |ledger: &Ledger| (state(ledger, 1).await, state(ledger, 2).await);
        assert_eq!(now(&ledger).await, ((false, false), (true, false)), "claimed again");
        if spooled {
            assert_ne!(folder.spooled(), "");
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
        }
        ledger.close().await;
        drop(ledger);
        assert_eq!(now(&folder.open().await).await, ((false, false), (true, false)));
        assert!(folder.check().await.is_ok());
    }
}

#[tokio::test]
async fn a_file_from_before_there_were_claims_goes_on() {
    let folder = Folder::new("older");
    let ledger = folder.open().await;
    ask(&ledger).await.unwrap();
    ledger.close().await;
    drop(ledger);
    folder.as_of(1).await;
    let again = folder.open().await;
    let first = claim(&again, 1).await;
    finish(&again, &first, "match").await;
    assert_eq!(state(&again, 1).await, (true, true));
    again.close().await;
    assert_eq!(folder.entries().await, ["1 call verdict yes", "2 answer match", "3 claim payout", "4 answer match"]);
    assert!(folder.check().await.is_ok());
}

#[tokio::test]
async fn a_key_is_found_however_long_others_look_something_up() {
    let folder = Folder::new("claims-busy");
    let ledger = folder.open().await;
    let claimed = claim(&ledger, 1).await;
    let pool = ledger.reader().await.unwrap().unwrap().pool().clone();
    let mut busy = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        busy.push(pool.acquire().await.unwrap());
    }
    assert_eq!(ledger.claimed(&key(1), 0).await.unwrap().map(|known| known.claim), Some(claimed));
    drop(busy);
    ledger.close().await;
}
