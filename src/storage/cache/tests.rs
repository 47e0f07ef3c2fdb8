use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::domain::clock::{Moment, Monotonic};
use crate::domain::subject::{Digest, DigestKey};
use crate::domain::verdict::{RequestId, Verdict};

const MINUTE: Duration = Duration::from_secs(60);

fn config(mismatch_ttl: Duration) -> Config {
    let (match_ttl, no_record_ttl, unknown_ttl) = (10 * MINUTE, MINUTE, MINUTE);
    Config { match_ttl, mismatch_ttl, no_record_ttl, unknown_ttl, max_entries: 100, sharing: Sharing::Shared }
}

fn key(n: u8) -> Digest {
    DigestKey::new([7; 32]).digest("test/v1", &[&[n]])
}

fn at(minute: i64) -> Monotonic {
    Monotonic(minute * 60_000)
}

fn given(verdict: Verdict, provider: &str, monotonic: Monotonic) -> Remembered {
    let verified_at = Moment { at: Timestamp::UNIX_EPOCH, monotonic };
    Remembered { verdict, provider: Arc::from(provider), request_id: RequestId::parse("ref-1"), verified_at }
}

#[tokio::test]
async fn what_is_found_is_what_was_put_with_what_is_left_of_its_life() {
    let cache = Cache::memory(config(2 * MINUTE));
    let remembered = given(Verdict::Match, "second", at(0));
    cache.put(key(1), remembered.clone()).await;
    assert_eq!(cache.get(&key(1), at(0)).await, Some((remembered.clone(), 10 * MINUTE)));
    assert_eq!(cache.get(&key(1), at(9)).await, Some((remembered, MINUTE)));
    assert_eq!(cache.get(&key(2), at(0)).await, None);
}

#[tokio::test]
async fn each_verdict_lives_as_long_as_its_kind_and_not_an_instant_longer() {
    let cache = Cache::memory(config(2 * MINUTE));
    for (n, (verdict, minutes)) in (0..).zip([(Verdict::Match, 10), (Verdict::Mismatch, 2), (Verdict::NoRecord, 1)]) {
        cache.put(key(n), given(verdict, "p", at(0))).await;
        let last = Monotonic(at(minutes).0 - 1);
        assert!(cache.get(&key(n), last).await.is_some(), "{verdict:?}");
        assert!(cache.get(&key(n), at(minutes)).await.is_none(), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_newer_verdict_takes_the_place_of_the_older_one() {
    let cache = Cache::memory(config(2 * MINUTE));
    cache.put(key(1), given(Verdict::Match, "first", at(0))).await;
    cache.put(key(1), given(Verdict::Mismatch, "second", at(1))).await;
    let (found, left) = cache.get(&key(1), at(1)).await.unwrap();
    assert_eq!((found.verdict, &*found.provider, left), (Verdict::Mismatch, "second", 2 * MINUTE));
}

#[tokio::test]
async fn a_newer_verdict_that_is_not_kept_ends_the_older_one_all_the_same() {
    let cache = Cache::memory(config(Duration::ZERO));
    cache.put(key(1), given(Verdict::Match, "p", at(0))).await;
    cache.put(key(1), given(Verdict::Mismatch, "p", at(1))).await;
    assert_eq!(cache.get(&key(1), at(1)).await, None);
}

#[test]
fn every_mistake_names_its_key() {
    let day = 24 * 60 * MINUTE;
    assert_eq!(config(day).validate(), []);
    let wrong = Config { match_ttl: day * 2, unknown_ttl: day * 2, max_entries: 0, ..config(day * 2) };
    let keys: Vec<_> = wrong.validate().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["match_ttl", "mismatch_ttl", "unknown_ttl", "max_entries"]);
}
