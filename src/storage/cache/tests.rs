use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::domain::clock::{Moment, Monotonic};
use crate::domain::subject::DigestKey;
use crate::domain::verdict::{RequestId, Verdict};

const MINUTE: Duration = Duration::from_secs(60);

fn config(mismatch_ttl: Duration) -> Config {
    let (match_ttl, no_record_ttl, unknown_ttl) = (10 * MINUTE, MINUTE, MINUTE);
    Config { match_ttl, mismatch_ttl, no_record_ttl, unknown_ttl, max_entries: 100, sharing: Sharing::Shared }
}

fn key(n: u8) -> CacheKey {
    CacheKey { person: DigestKey::new([7; 32]).digest("test/v1", &[&[n]]), scope: Scope::DEFAULT }
}

fn at(minute: i64) -> Monotonic {
    Monotonic(minute * 60_000)
}

fn given(verdict: Verdict, provider: &str, monotonic: Monotonic) -> Remembered {
    let verified_at = Moment { at: Timestamp::UNIX_EPOCH, monotonic };
    Remembered { verdict, provider: Arc::from(provider), request_id: RequestId::parse("ref-1"), verified_at }
}

#[test]
fn what_is_found_is_what_was_put_with_what_is_left_of_its_life() {
    let cache = Cache::memory(config(2 * MINUTE));
    let remembered = given(Verdict::Match, "second", at(0));
    cache.put(&key(1), remembered.clone());
    assert_eq!(cache.get(&key(1), at(0)), Some((remembered.clone(), 10 * MINUTE)));
    assert_eq!(cache.get(&key(1), at(9)), Some((remembered, MINUTE)));
    assert_eq!(cache.get(&key(2), at(0)), None);
}

#[test]
fn each_verdict_lives_as_long_as_its_kind_and_not_an_instant_longer() {
    let cache = Cache::memory(config(2 * MINUTE));
    for (n, (verdict, minutes)) in (0..).zip([(Verdict::Match, 10), (Verdict::Mismatch, 2), (Verdict::NoRecord, 1)]) {
        cache.put(&key(n), given(verdict, "p", at(0)));
        let last = Monotonic(at(minutes).0 - 1);
        assert!(cache.get(&key(n), last).is_some(), "{verdict:?}");
        assert!(cache.get(&key(n), at(minutes)).is_none(), "{verdict:?}");
    }
}

#[test]
fn a_newer_verdict_takes_the_place_of_the_older_one() {
    let cache = Cache::memory(config(2 * MINUTE));
    cache.put(&key(1), given(Verdict::Match, "first", at(0)));
    cache.put(&key(1), given(Verdict::Mismatch, "second", at(1)));
    let (found, left) = cache.get(&key(1), at(1)).unwrap();
    assert_eq!((found.verdict, &*found.provider, left), (Verdict::Mismatch, "second", 2 * MINUTE));
}

#[test]
fn a_newer_verdict_that_is_not_kept_ends_the_older_one_all_the_same() {
    let cache = Cache::memory(config(Duration::ZERO));
    cache.put(&key(1), given(Verdict::Match, "p", at(0)));
    cache.put(&key(1), given(Verdict::Mismatch, "p", at(1)));
    assert_eq!(cache.get(&key(1), at(1)), None);
}

#[test]
fn every_mistake_names_its_key() {
    let day = 24 * 60 * MINUTE;
    assert_eq!(config(day).validate(), []);
    let wrong = Config { match_ttl: day * 2, unknown_ttl: day * 2, max_entries: 0, ..config(day * 2) };
    let keys: Vec<_> = wrong.validate().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["match_ttl", "mismatch_ttl", "unknown_ttl", "max_entries"]);
}

#[test]
fn a_full_memory_forgets_the_least_recently_used_and_never_the_newcomer() {
    let cache = Cache::memory(Config { max_entries: 3, ..config(MINUTE) });
    for n in 0..3 {
        cache.put(&key(n), given(Verdict::Match, "p", at(0)));
    }
    // A read makes entry 0 the most recently used.
    assert!(cache.get(&key(0), at(0)).is_some());
    cache.put(&key(3), given(Verdict::Match, "p", at(0)));
    let kept = [0, 1, 2, 3].map(|n| cache.get(&key(n), at(0)).is_some());
    assert_eq!((kept, cache.entries(at(0))), ([true, false, true, true], 3));
}

#[test]
fn other_lifetimes_apply_to_what_is_cached_whether_longer_or_shorter() {
    let cache = Cache::memory(config(2 * MINUTE));
    cache.put(&key(1), given(Verdict::Mismatch, "p", at(0)));
    cache.reconfigure(config(5 * MINUTE));
    assert!(cache.get(&key(1), at(4)).is_some());
    assert_eq!(cache.entries(at(4)), 1);
    cache.reconfigure(config(4 * MINUTE));
    assert_eq!((cache.entries(at(4)), cache.get(&key(1), at(3))), (0, None));
}

#[test]
fn what_has_lapsed_goes_although_nobody_asks() {
    let cache = Cache::memory(Config { max_entries: 10_000, ..config(2 * MINUTE) });
    let verdicts = [Verdict::Match, Verdict::Mismatch, Verdict::NoRecord];
    let cache_key =
        |n: u32| CacheKey { person: DigestKey::new([7; 32]).digest("test/v1", &[&n.to_be_bytes()]), ..key(0) };
    for (n, verdict) in (0..6_000).zip(verdicts.into_iter().cycle()) {
        cache.put(&cache_key(n), given(verdict, "p", at(0)));
    }
    assert_eq!([0, 1, 2, 10].map(|minute| cache.entries(at(minute))), [6_000, 4_000, 2_000, 0]);
    assert!(cache.bytes() < 200_000, "{} bytes for nothing", cache.bytes());
}

#[test]
fn a_person_is_forgotten_in_every_scope_and_nobody_else() {
    let cache = Cache::memory(config(MINUTE));
    let cache_keys = |n| [0, 1, 7].map(|scope| CacheKey { scope: Scope::new(scope), ..key(n) });
    for cache_key in [cache_keys(1), cache_keys(2)].concat() {
        cache.put(&cache_key, given(Verdict::Match, "p", at(0)));
    }
    assert_eq!((cache.forget_person(&key(1).person), cache.forget_person(&key(1).person)), (3, 0));
    let known = |n| cache_keys(n).map(|cache_key| cache.get(&cache_key, at(0)).is_some());
    assert_eq!((known(1), known(2)), ([false; 3], [true; 3]));
}

#[test]
fn a_reference_of_any_length_comes_back_until_its_verdict_goes() {
    let cache = Cache::memory(Config { max_entries: 2, ..config(MINUTE) });
    let texts = ["130A2C10-B9EE-4D84-88E3-5384FF039795", "r", "a-reference-that-is-longer-than-sixteen", "1a_x.Y"];
    let known = |n, text: &str| {
        let found = cache.get(&key(n), at(0)).map(|(found, _)| found.request_id);
        assert_eq!(found, Some(RequestId::parse(text)), "{text}");
    };
    for text in texts {
        let verdict = Remembered { request_id: RequestId::parse(text), ..given(Verdict::Match, "p", at(0)) };
        cache.put(&key(1), verdict.clone());
        known(1, text);
        cache.put(&key(2), verdict);
        (1..=2).for_each(|n| known(n, text));
    }
    cache.put(&key(1), Remembered { request_id: None, ..given(Verdict::Match, "p", at(0)) });
    assert_eq!(cache.get(&key(1), at(0)).map(|(found, _)| found.request_id), Some(None));
}

#[test]
fn an_entry_stays_small() {
    let cache = Cache::memory(Config { max_entries: 1_000_000, ..config(MINUTE) });
    let (digest_key, people) = (DigestKey::new([7; 32]), 50_000_u32);
    for n in 0..people {
        let person = digest_key.digest("test/v1", &[&n.to_be_bytes()]);
        let request_id = RequestId::parse("130A2C10-B9EE-4D84-88E3-5384FF039795");
        let verdict = Remembered { request_id, ..given(Verdict::Match, "p", at(0)) };
        cache.put(&CacheKey { person, scope: Scope::DEFAULT }, verdict);
    }
    // config/default.toml and docs/operations.md name it.
    let each = cache.bytes() / people as usize;
    assert!((76..=78).contains(&each), "{each} bytes");
}

/// What the cache should do, in plain lists.
#[derive(Debug)]
struct Model {
    config: Config,
    /// Least recently used first.
    used: Vec<(CacheKey, Remembered)>,
    /// Of each verdict, oldest first.
    by_age: [Vec<CacheKey>; 3],
}

impl Model {
    fn has_lapsed(&self, found: &Remembered, now: Monotonic) -> bool {
        found.age(now) >= self.config.lifetime(found.verdict)
    }

    fn remove(&mut self, cache_key: &CacheKey) -> Option<Remembered> {
        self.by_age.iter_mut().for_each(|list| list.retain(|one| one != cache_key));
        let at = self.used.iter().position(|(one, _)| one == cache_key)?;
        Some(self.used.remove(at).1)
    }

    fn lapse(&mut self, now: Monotonic, most: usize) {
        let mut left = most;
        for list in 0..3 {
            while let Some(first) = self.by_age[list].first().copied()
                && let Some((_, found)) = self.used.iter().find(|(cache_key, _)| *cache_key == first)
                && self.has_lapsed(found, now)
                && left > 0
            {
                left -= 1;
                self.remove(&first);
            }
        }
    }

    fn insert(&mut self, cache_key: CacheKey, verdict: Remembered, is_older: bool) {
        if self.used.len() as u64 >= self.config.max_entries {
            let first = self.used[0].0;
            self.remove(&first);
        }
        let list = &mut self.by_age[verdict.verdict as usize];
        if is_older {
            list.insert(0, cache_key)
        } else {
            list.push(cache_key)
        }
        self.used.push((cache_key, verdict));
    }

    fn put(&mut self, cache_key: CacheKey, verdict: Remembered) {
        if !self.config.lifetime(verdict.verdict).is_zero() {
            self.lapse(verdict.verified_at.monotonic, 4);
        }
        self.remove(&cache_key);
        if !self.config.lifetime(verdict.verdict).is_zero() {
            self.insert(cache_key, verdict, false);
        }
    }

    fn restore(&mut self, cache_key: CacheKey, verdict: Remembered, now: Monotonic) {
        let known = self.used.iter().find(|(one, _)| *one == cache_key).map(|(_, found)| self.has_lapsed(found, now));
        if known != Some(false) && !self.config.lifetime(verdict.verdict).is_zero() {
            self.remove(&cache_key);
            self.insert(cache_key, verdict, true);
        }
    }

    fn get(&mut self, cache_key: &CacheKey, now: Monotonic) -> Option<(Remembered, Duration)> {
        let at = self.used.iter().position(|(one, _)| one == cache_key)?;
        if self.has_lapsed(&self.used[at].1, now) {
            self.remove(cache_key);
            return None;
        }
        let found = self.used.remove(at);
        self.used.push(found.clone());
        Some((found.1.clone(), self.config.lifetime(found.1.verdict) - found.1.age(now)))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(CacheKey, Verdict, Option<&'static str>),
    Restore(CacheKey, Verdict, u64),
    Get(CacheKey),
    Forget(CacheKey),
    ForgetPerson(u8),
    Wait(u64),
    Lifetimes([u64; 3]),
    Count,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cache_key = || (0..8_u8, 0..2_u32).prop_map(|(n, scope)| CacheKey { scope: Scope::new(scope), ..key(n) });
    let verdict = || prop::sample::select(Verdict::ALL.to_vec());
    let reference = prop::sample::select(vec![None, Some("r-1"), Some("a-reference-longer-than-sixteen")]);
    let step = prop_oneof![
        6 => (cache_key(), verdict(), reference).prop_map(|(cache_key, verdict, text)| Step::Put(cache_key, verdict, text)),
        2 => (cache_key(), verdict(), 0..90_u64).prop_map(|(cache_key, verdict, age)| Step::Restore(cache_key, verdict, age)),
        6 => cache_key().prop_map(Step::Get),
        1 => cache_key().prop_map(Step::Forget),
        1 => (0..8_u8).prop_map(Step::ForgetPerson),
        4 => (0..30_u64).prop_map(Step::Wait),
        1 => prop::array::uniform3(0..100_u64).prop_map(Step::Lifetimes),
        1 => Just(Step::Count),
    ];
    prop::collection::vec(step, 0..120)
}

fn lifetimes([matches, mismatch, no_record]: [u64; 3]) -> Config {
    let second = Duration::from_secs;
    let (match_ttl, mismatch_ttl, no_record_ttl) = (second(matches), second(mismatch), second(no_record));
    Config { match_ttl, mismatch_ttl, no_record_ttl, max_entries: 6, ..config(MINUTE) }
}

proptest! {
    #[test]
    fn the_cache_does_what_plain_lists_do(steps in steps()) {
        let config = lifetimes([60, 40, 20]);
        let cache = Cache::memory(config.clone());
        let mut model = Model { config, used: Vec::new(), by_age: Default::default() };
        let mut now = Monotonic(0);
        for step in steps {
            match step {
                Step::Put(cache_key, verdict, text) => {
                    let request_id = text.and_then(RequestId::parse);
                    let verdict = Remembered { request_id, ..given(verdict, "p", now) };
                    cache.put(&cache_key, verdict.clone());
                    model.put(cache_key, verdict);
                }
                Step::Restore(cache_key, verdict, age) => {
                    let verdict = given(verdict, "q", Monotonic(now.0 - i64::try_from(age * 1000).unwrap()));
                    cache.restore(&cache_key, verdict.clone(), now);
                    model.restore(cache_key, verdict, now);
                }
                Step::Get(cache_key) => prop_assert_eq!(cache.get(&cache_key, now), model.get(&cache_key, now)),
                Step::Forget(cache_key) => {
                    cache.forget(&cache_key);
                    model.remove(&cache_key);
                }
                Step::ForgetPerson(n) => {
                    let person = key(n).person;
                    let cache_keys: Vec<_> = model.used.iter().map(|(cache_key, _)| *cache_key).collect();
                    let forgotten = cache_keys.iter().filter(|cache_key| cache_key.person == person);
                    let forgotten = forgotten.filter(|cache_key| model.remove(cache_key).is_some()).count();
                    prop_assert_eq!(cache.forget_person(&person), forgotten);
                }
                Step::Wait(seconds) => now.0 += i64::try_from(seconds * 1000).unwrap(),
                Step::Lifetimes(seconds) => {
                    model.config = lifetimes(seconds);
                    cache.reconfigure(lifetimes(seconds));
                }
                Step::Count => {
                    model.lapse(now, usize::MAX);
                    prop_assert_eq!(cache.entries(now), model.used.len());
                }
            }
            prop_assert!(model.used.len() <= 6);
        }
        for cache_key in (0..8).flat_map(|n| [0, 1].map(|scope| CacheKey { scope: Scope::new(scope), ..key(n) })) {
            prop_assert_eq!(cache.get(&cache_key, now), model.get(&cache_key, now));
        }
    }
}
