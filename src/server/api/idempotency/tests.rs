//! Who holds a key, who waits for it, and who gets what.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;

use super::super::reply::Provenance;
use super::*;
use crate::domain::subject::DigestKey;

fn digest(of: usize) -> Digest {
    DigestKey::new([7; 32]).digest("test", &[&of.to_be_bytes()])
}

/// The one whom most bodies here are about.
fn person() -> Digest {
    digest(1_000_000)
}

fn reply() -> Arc<VerifyReply> {
    Arc::new(VerifyReply {
        verification_id: uuid::Uuid::nil(),
        verdict: "match",
        provenance: Provenance {
            provider: String::new(),
            provider_request_id: None,
            source: "provider",
            verified_at: String::new(),
            attempts: Vec::new(),
        },
        warnings: Vec::new(),
        person: None,
    })
}

async fn held(keys: &Idempotency, key: Digest, body: Digest) -> Held {
    match keys.claim(key, body, person()).await {
        Claim::Held(held) => held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_finished_key_answers_its_body_and_refuses_another() {
    let keys = Idempotency::new();
    held(&keys, digest(0), digest(1)).await.finish(reply());
    assert!(matches!(keys.claim(digest(0), digest(1), person()).await, Claim::Done(_)));
    assert!(matches!(keys.claim(digest(0), digest(2), person()).await, Claim::Reused));
}

#[tokio::test(start_paused = true)]
async fn a_key_given_back_stays_with_its_body_and_remembers_since_when_it_is_used() {
    let keys = Idempotency::new();
    let first = held(&keys, digest(0), digest(1)).await;
    assert_eq!(first.since_first_use(), None);
    drop(first);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(matches!(keys.claim(digest(0), digest(2), person()).await, Claim::Reused));
    let second = held(&keys, digest(0), digest(1)).await;
    assert_eq!(second.since_first_use(), Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn whoever_waits_is_told_a_failure_that_holds_for_all_and_the_key_is_free_again() {
    let keys = Idempotency::new();
    let first = held(&keys, digest(0), digest(1)).await;
    let Claim::Busy(busy) = keys.claim(digest(0), digest(1), person()).await else { panic!("it is at work") };
    first.fail(Arc::new(Problem::new(super::super::code::Code::ProviderFailure)));
    assert!(matches!(busy.wait().await, Some(Err(_))));
    held(&keys, digest(0), digest(1)).await.finish(reply());
    assert!(matches!(keys.claim(digest(0), digest(1), person()).await, Claim::Done(_)));
}

#[tokio::test]
async fn a_caller_who_leaves_while_claiming_leaves_the_key_free() {
    let keys = Idempotency::new();
    let _ = keys.claim(digest(0), digest(1), person()).now_or_never();
    drop(held(&keys, digest(0), digest(1)).await);
}

#[tokio::test]
async fn a_full_table_forgets_the_oldest_key_and_not_the_new_one() {
    let keys = Idempotency::holding(10);
    for key in 0..100 {
        held(&keys, digest(key), digest(0)).await.finish(reply());
        keys.0.run_pending_tasks().await;
        assert!(matches!(keys.claim(digest(key), digest(0), person()).await, Claim::Done(_)), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_is_given_back_again_and_again_is_never_held_twice() {
    let keys = Idempotency::new();
    let holders = Arc::new(AtomicUsize::new(0));
    let claims: Vec<_> = (0..16)
        .map(|_| {
            let (keys, holders) = (keys.clone(), Arc::clone(&holders));
            async move {
                let mut times_held = 0;
                while times_held < 50 {
                    match keys.claim(digest(0), digest(1), person()).await {
                        Claim::Held(held) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "held twice");
                            tokio::task::yield_now().await;
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(held);
                            times_held += 1;
                        }
                        Claim::Busy(busy) => assert!(busy.wait().await.is_none()),
                        other => panic!("{other:?}"),
                    }
                }
            }
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    claims.into_iter().for_each(|claim| drop(tasks.spawn(claim)));
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_was_about_a_person_is_forgotten_and_nothing_else() {
    let keys = Idempotency::new();
    let other = digest(1_000_001);
    for (key, about) in [(0, person()), (1, other), (2, person())] {
        let Claim::Held(held) = keys.claim(digest(key), digest(9), about).await else { panic!("it is fresh") };
        held.finish(reply());
    }
    let Claim::Held(at_work) = keys.claim(digest(3), digest(9), person()).await else { panic!("it is fresh") };
    assert_eq!(keys.forget(person()).await, 3);
    // Its verdict goes to whoever waits for it, and is not found again.
    at_work.finish(reply());
    for key in [0, 2, 3] {
        assert!(matches!(keys.claim(digest(key), digest(8), other).await, Claim::Held(_)), "{key}");
    }
    assert!(matches!(keys.claim(digest(1), digest(9), other).await, Claim::Done(_)));
}

#[tokio::test]
async fn a_key_ends_only_with_the_answer_that_it_was_ended_for() {
    let keys = Idempotency::new();
    let (old, new) = (reply(), reply());
    let finish = async |answer: &Arc<VerifyReply>| match keys.claim(digest(0), digest(1), person()).await {
        Claim::Held(held) => held.finish(Arc::clone(answer)),
        claim => panic!("{claim:?}"),
    };
    finish(&old).await;
    keys.end(digest(0), &new).await;
    assert!(matches!(keys.claim(digest(0), digest(1), person()).await, Claim::Done(_)), "that is another's answer");
    keys.end(digest(0), &old).await;
    finish(&new).await;
    // A second one that saw the old answer comes too late to end the new one.
    keys.end(digest(0), &old).await;
    assert!(
        matches!(keys.claim(digest(0), digest(1), person()).await, Claim::Done(answer) if Arc::ptr_eq(&answer, &new))
    );
}
