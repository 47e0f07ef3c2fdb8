//! Who holds a key, who waits for it, and who gets what.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;

use super::*;
use crate::domain::subject::DigestKey;
use crate::domain::verdict::Verdict;
use crate::verify::Source;

fn digest(of: usize) -> Digest {
    DigestKey::new([7; 32]).digest("test", &[&of.to_be_bytes()])
}

/// The one whom most bodies here are about.
fn person() -> Digest {
    digest(1_000_000)
}

fn nobody() -> Arc<str> {
    Arc::default()
}

fn reply() -> Arc<Verified> {
    Arc::new(Verified {
        id: uuid::Uuid::nil(),
        verdict: Verdict::Match,
        provider: Arc::default(),
        provider_request_id: None,
        verified_at: Clock::fixed(jiff::Timestamp::UNIX_EPOCH).moment(),
        source: Source::Provider,
        attempts: Vec::new(),
    })
}

fn owner(body: Digest, person: Digest) -> Owner {
    Owner { body, person, since: Monotonic(0), claim: None, term: 0 }
}

/// Claims a key for a body about `person`, which nobody had before.
async fn claim_about(keys: &Idempotency, key: Digest, body: Digest, person: Digest) -> ClaimResult {
    loop {
        match keys.claim(&nobody(), key, body, Monotonic(0)) {
            ClaimResult::Unknown(lookup) => {
                let erasures = lookup.erasures();
                lookup.claimed(owner(body, person), erasures).unwrap();
            }
            ClaimResult::LookedUp(looking) => drop(looking.is_known().await),
            claim => return claim,
        }
    }
}

async fn claim(keys: &Idempotency, key: Digest, body: Digest) -> ClaimResult {
    claim_about(keys, key, body, person()).await
}

async fn held(keys: &Idempotency, key: Digest, body: Digest) -> Claim {
    match claim(keys, key, body).await {
        ClaimResult::Claimed(held) => held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_finished_key_answers_its_body_and_refuses_another() {
    let keys = Idempotency::new();
    held(&keys, digest(0), digest(1)).await.finish(reply());
    assert!(matches!(claim(&keys, digest(0), digest(1)).await, ClaimResult::Done(_)));
    assert!(matches!(claim(&keys, digest(0), digest(2)).await, ClaimResult::Reused));
}

#[tokio::test]
async fn a_key_given_back_stays_with_its_body_and_remembers_since_when_it_is_used() {
    let keys = Idempotency::new();
    let first = held(&keys, digest(0), digest(1)).await;
    assert_eq!(first.since_first_use(Monotonic(3000)), None);
    drop(first);
    assert!(matches!(claim(&keys, digest(0), digest(2)).await, ClaimResult::Reused));
    let second = held(&keys, digest(0), digest(1)).await;
    assert_eq!(second.since_first_use(Monotonic(3000)), Some(Duration::from_secs(3)));
    assert_eq!(second.since_first_use(Monotonic(-3000)), Some(Duration::ZERO), "a clock that goes back");
}

#[tokio::test]
async fn whoever_waits_is_told_a_failure_that_holds_for_all_and_the_key_is_free_again() {
    let keys = Idempotency::new();
    let first = held(&keys, digest(0), digest(1)).await;
    let ClaimResult::InProgress(busy) = claim(&keys, digest(0), digest(1)).await else { panic!("it is at work") };
    first.fail(Arc::new(Problem::new(crate::server::http::code::Code::ProviderFailure)));
    assert!(matches!(busy.wait().await, Some(Err(_))));
    held(&keys, digest(0), digest(1)).await.finish(reply());
    assert!(matches!(claim(&keys, digest(0), digest(1)).await, ClaimResult::Done(_)));
}

#[tokio::test]
async fn a_caller_who_leaves_while_claiming_leaves_the_key_free() {
    let keys = Idempotency::new();
    let _ = claim(&keys, digest(0), digest(1)).now_or_never();
    drop(held(&keys, digest(0), digest(1)).await);
}

#[tokio::test]
async fn a_full_table_forgets_the_oldest_key_and_not_the_new_one() {
    let keys = Idempotency::holding(10);
    for key in 0..100 {
        held(&keys, digest(key), digest(0)).await.finish(reply());
        assert!(matches!(claim(&keys, digest(key), digest(0)).await, ClaimResult::Done(_)), "{key}");
    }
}

#[tokio::test]
async fn one_client_that_uses_many_keys_does_not_push_out_another_clients() {
    let keys = Idempotency::holding(10);
    let [one, other] = ["one", "other"].map(Arc::from);
    let claim_of = async |client: &Arc<str>, key| match keys.claim(client, digest(key), digest(0), Monotonic(0)) {
        ClaimResult::Unknown(lookup) => {
            lookup.claimed(owner(digest(0), person()), 0).unwrap();
            keys.claim(client, digest(key), digest(0), Monotonic(0))
        }
        claim => claim,
    };
    let ClaimResult::Claimed(held) = claim_of(&one, 0).await else { panic!("it is fresh") };
    held.finish(reply());
    for key in 1..1000 {
        let ClaimResult::Claimed(held) = claim_of(&other, key).await else { panic!("it is fresh") };
        held.finish(reply());
    }
    assert!(matches!(claim_of(&one, 0).await, ClaimResult::Done(_)));
    assert!(matches!(claim_of(&other, 999).await, ClaimResult::Done(_)));
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
                    match claim(&keys, digest(0), digest(1)).await {
                        ClaimResult::Claimed(held) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "held twice");
                            tokio::task::yield_now().await;
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(held);
                            times_held += 1;
                        }
                        ClaimResult::InProgress(busy) => assert!(busy.wait().await.is_none()),
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
        let ClaimResult::Claimed(held) = claim_about(&keys, digest(key), digest(9), about).await else {
            panic!("it is fresh")
        };
        held.finish(reply());
    }
    let ClaimResult::Claimed(at_work) = claim(&keys, digest(3), digest(9)).await else { panic!("it is fresh") };
    assert_eq!(keys.forget(person()), 3);
    // Its verdict goes to whoever waits for it, and is not found again.
    at_work.finish(reply());
    for key in [0, 2, 3] {
        assert!(matches!(claim_about(&keys, digest(key), digest(8), other).await, ClaimResult::Claimed(_)), "{key}");
    }
    assert!(matches!(claim_about(&keys, digest(1), digest(9), other).await, ClaimResult::Done(_)));
}

#[tokio::test]
async fn a_key_begins_anew_only_in_place_of_the_answer_that_was_seen() {
    let keys = Idempotency::new();
    let done = async || match claim(&keys, digest(0), digest(1)).await {
        ClaimResult::Done(done) => done,
        claim => panic!("{claim:?}"),
    };
    held(&keys, digest(0), digest(1)).await.finish(reply());
    let (first, second) = (done().await, done().await);
    let lookup = keys.start_over(&nobody(), digest(0), &first).unwrap();
    assert!(lookup.starts_over);
    assert!(
        matches!(keys.claim(&nobody(), digest(0), digest(2), Monotonic(0)), ClaimResult::LookedUp(_)),
        "nobody knows whose it is"
    );
    lookup.claimed(owner(digest(1), person()), 0).unwrap();
    let new = reply();
    held(&keys, digest(0), digest(1)).await.finish(Arc::clone(&new));
    // A second one that saw the old answer comes too late to end the new one.
    assert!(keys.start_over(&nobody(), digest(0), &second).is_none());
    assert!(Arc::ptr_eq(&done().await.answer, &new));
}

#[tokio::test]
async fn whose_a_key_is_one_finds_out_for_all() {
    let keys = Idempotency::new();
    let ClaimResult::Unknown(lookup) = keys.claim(&nobody(), digest(0), digest(1), Monotonic(0)) else {
        panic!("nobody has looked")
    };
    let ClaimResult::LookedUp(looking) = keys.claim(&nobody(), digest(0), digest(2), Monotonic(0)) else {
        panic!("one looks")
    };
    // It was another body's, and finished.
    lookup.found(owner(digest(2), person()), Some(Verified::clone(&reply())), 0).unwrap();
    assert!(looking.is_known().await);
    assert!(matches!(keys.claim(&nobody(), digest(0), digest(1), Monotonic(0)), ClaimResult::Reused));
    assert!(matches!(keys.claim(&nobody(), digest(0), digest(2), Monotonic(0)), ClaimResult::Done(_)));
}

#[tokio::test]
async fn a_look_that_comes_to_nothing_is_told_to_those_who_wait_and_is_the_next_ones() {
    let keys = Idempotency::new();
    let ClaimResult::Unknown(lookup) = keys.claim(&nobody(), digest(0), digest(1), Monotonic(0)) else {
        panic!("nobody has looked")
    };
    let waiting = lookup.wait();
    drop(lookup);
    assert!(!waiting.is_known().await);
    drop(held(&keys, digest(0), digest(1)).await);
}

#[tokio::test]
async fn a_person_who_is_forgotten_while_a_key_is_looked_up_is_not_found() {
    let keys = Idempotency::new();
    let ClaimResult::Unknown(lookup) = keys.claim(&nobody(), digest(0), digest(1), Monotonic(0)) else {
        panic!("nobody has looked")
    };
    let before = lookup.erasures();
    assert_eq!(keys.forget(person()), 0);
    let lookup = lookup.found(owner(digest(1), person()), None, before).unwrap_err();
    let now = lookup.erasures();
    lookup.claimed(owner(digest(1), person()), now).unwrap();
    assert_eq!(keys.forget(person()), 1);
}

#[tokio::test]
async fn a_key_is_over_when_its_time_is_but_not_while_somebody_works() {
    let keys = Idempotency::new();
    let working = held(&keys, digest(0), digest(1)).await;
    assert!(matches!(keys.claim(&nobody(), digest(0), digest(1), Monotonic(86_400_001)), ClaimResult::InProgress(_)));
    working.finish(reply());
    assert!(matches!(keys.claim(&nobody(), digest(0), digest(1), Monotonic(0)), ClaimResult::Done(_)));
    assert!(matches!(keys.claim(&nobody(), digest(0), digest(2), Monotonic(86_400_001)), ClaimResult::Unknown(_)));
}
