//! Questions that ended without a verdict after a call that may yet be billed, so that a retry is not a second bill.
//!
//! Keys are keyed digests, and the table is bounded. Only such endings are kept here: a verdict is in the cache, and a
//! call in flight is joined.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::{Entry, Expiry};
use tokio::time::Instant;

use super::failure;
use super::policy::OnUnknown;
use super::question::{Attempt, FailureKind};
use crate::domain::money::Billed;
use crate::domain::outcome::Outcome;
use crate::domain::subject::Digest;
use crate::storage::{CacheKey, Scope};

/// How many people are kept. When full, the least recently used are evicted. About 500 bytes each.
const MOST: u64 = 100_000;

#[derive(Debug)]
pub(super) struct Unanswered {
    /// By person, so that all about one person is found at once. An ending belongs to one scope.
    table: Cache<Digest, Endings>,
    /// Whether anything was ever put in. Until then a look costs nothing.
    is_used: AtomicBool,
}

type Endings = Arc<Vec<(Scope, Arc<Ending>)>>;

/// How a question ended, for those who ask it again.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) kind: FailureKind,
    pub(super) attempts: Vec<Attempt>,
    ended: Instant,
    window: Duration,
}

struct ByWindow;

impl Ending {
    /// The ending of a question with these attempts, if it must be kept. After a call without an answer nobody knows
    /// whether it will be billed. After an answer that is no verdict the bill is merely unknown; that keeps the
    /// question from being asked again only where it keeps the next provider from being asked.
    pub(super) fn of(attempts: &[Attempt], on_unknown: OnUnknown, window: Duration) -> Option<Self> {
        let may_be_billed = |attempt: &Attempt| {
            let has_no_answer = matches!(attempt.outcome, Outcome::Timeout | Outcome::Interrupted);
            attempt.billed != Billed::No && (has_no_answer || on_unknown == OnUnknown::Stop)
        };
        (!window.is_zero() && attempts.iter().any(may_be_billed)).then(|| Self {
            // Without what ended it for one client, such as its budget: others may ask the same question.
            kind: failure::of(attempts, None).0,
            attempts: attempts.to_vec(),
            ended: Instant::now(),
            window,
        })
    }

    /// How long the question is not asked again.
    fn left(&self, now: Instant) -> Duration {
        self.window.saturating_sub(now.duration_since(self.ended))
    }

    /// The time after which a retry can help, if any can.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        failure::may_pass(self.kind).then(|| self.left(now))
    }
}

impl Unanswered {
    pub(super) fn new() -> Self {
        let table = Cache::builder().max_capacity(MOST).eviction_policy(EvictionPolicy::lru()).expire_after(ByWindow);
        Self { table: table.build(), is_used: AtomicBool::new(false) }
    }

    pub(super) async fn get(&self, key: &CacheKey) -> Option<Arc<Ending>> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        // Boxed, like the others, so that a flight does not carry the room of what is seldom done.
        let endings = Box::pin(self.table.get(&key.person)).await?;
        let (_, ending) = endings.iter().find(|(scope, _)| *scope == key.scope)?;
        (!ending.left(Instant::now()).is_zero()).then(|| Arc::clone(ending))
    }

    pub(super) async fn put(&self, key: CacheKey, ending: Ending) {
        self.is_used.store(true, Ordering::Release);
        let one = (key.scope, Arc::new(ending));
        let with = |known| std::future::ready(Arc::new(others(known, key.scope).chain([one]).collect()));
        Box::pin(self.table.entry(key.person).and_upsert_with(with)).await;
    }

    pub(super) async fn forget(&self, key: &CacheKey) {
        if !self.is_used.load(Ordering::Acquire) {
            return;
        }
        let without = |known| {
            let left: Vec<_> = others(known, key.scope).collect();
            std::future::ready(if left.is_empty() { Op::Remove } else { Op::Put(Arc::new(left)) })
        };
        Box::pin(self.table.entry(key.person).and_compute_with(without)).await;
    }

    /// Removes the endings of every scope about `person`.
    pub(super) async fn forget_person(&self, person: &Digest) {
        if self.is_used.load(Ordering::Acquire) {
            self.table.invalidate(person).await;
        }
    }
}

/// What is kept for other scopes and matters still.
fn others(known: Option<Entry<Digest, Endings>>, scope: Scope) -> impl Iterator<Item = (Scope, Arc<Ending>)> {
    let (endings, now) = (known.map(Entry::into_value).unwrap_or_default(), Instant::now());
    let matters = move |(of, ending): &(Scope, Arc<Ending>)| *of != scope && !ending.left(now).is_zero();
    endings.iter().filter(|one| matters(one)).cloned().collect::<Vec<_>>().into_iter()
}

impl ByWindow {
    fn longest(endings: &Endings) -> Option<Duration> {
        let now = Instant::now();
        endings.iter().map(|(_, ending)| ending.left(now)).max()
    }
}

impl Expiry<Digest, Endings> for ByWindow {
    fn expire_after_create(&self, _: &Digest, endings: &Endings, _: std::time::Instant) -> Option<Duration> {
        Self::longest(endings)
    }

    // The default implementation keeps the expiry of the overwritten entry.
    fn expire_after_update(
        &self,
        _: &Digest,
        endings: &Endings,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Self::longest(endings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;

    fn attempts(outcomes: &[(Outcome, Billed)]) -> Vec<Attempt> {
        let skipped = |outcome| Attempt::skipped(&Arc::default(), &Arc::default(), outcome, None);
        outcomes.iter().map(|&(outcome, billed)| Attempt { billed, ..skipped(outcome) }).collect()
    }

    #[test]
    fn an_ending_is_kept_for_every_outcome_that_may_yet_be_billed_as_the_policy_says() {
        let minute = Duration::from_secs(60);
        let keeps = |outcome, billed, policy| Ending::of(&attempts(&[(outcome, billed)]), policy, minute).is_some();
        for &outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Verdict) {
            let (name, billed) = (outcome.as_str(), outcome.rule().billed);
            let has_no_answer = ["timeout", "interrupted"].contains(&name);
            assert_eq!(keeps(outcome, billed, OnUnknown::AskNext), has_no_answer, "{name}");
            assert_eq!(keeps(outcome, billed, OnUnknown::Stop), billed == Billed::Unknown, "{name}");
            assert!(!keeps(outcome, Billed::No, OnUnknown::Stop), "{name}: it is known to be free");
        }
        let mixed = attempts(&[(Outcome::Timeout, Billed::Unknown), (Outcome::RateLimited, Billed::No)]);
        let ending = Ending::of(&mixed, OnUnknown::AskNext, minute).unwrap();
        assert_eq!((ending.kind, &ending.attempts), (FailureKind::OutcomeUnknown, &mixed));
        assert_eq!(ending.retry_after(ending.ended), Some(minute));
        let refused = attempts(&[(Outcome::InputRefused, Billed::Unknown)]);
        let ending = Ending::of(&refused, OnUnknown::Stop, minute).unwrap();
        assert_eq!((ending.kind, ending.retry_after(ending.ended)), (FailureKind::RejectedByProvider, None));
        assert!(Ending::of(&mixed, OnUnknown::Stop, Duration::ZERO).is_none(), "turned off");
    }

    #[tokio::test(start_paused = true)]
    async fn an_ending_is_told_until_its_window_is_over_and_a_later_one_begins_anew() {
        let (table, second) = (Unanswered::new(), Duration::from_secs(1));
        let key =
            |n: u8| CacheKey { person: DigestKey::new([7; 32]).digest("test/v1", &[&[n]]), scope: Scope::DEFAULT };
        let hung = attempts(&[(Outcome::Timeout, Billed::Unknown)]);
        let ending = || Ending::of(&hung, OnUnknown::AskNext, 60 * second).unwrap();
        let left = async |n| table.get(&key(n)).await.map(|ending| ending.left(Instant::now()).as_secs());
        assert_eq!(left(1).await, None);
        table.put(key(1), ending()).await;
        table.put(key(2), ending()).await;
        tokio::time::advance(59 * second).await;
        assert_eq!((left(1).await, left(2).await, left(3).await), (Some(1), Some(1), None));
        table.put(key(1), ending()).await;
        tokio::time::advance(second).await;
        assert_eq!((left(1).await, left(2).await), (Some(59), None));
        table.forget(&key(1)).await;
        assert_eq!(left(1).await, None);
    }
    #[tokio::test(start_paused = true)]
    async fn endings_of_different_scopes_live_apart_and_go_together_with_their_person() {
        let (table, second) = (Unanswered::new(), Duration::from_secs(1));
        let key = |n: u8, scope| {
            let person = DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
            CacheKey { person, scope: Scope::new(scope) }
        };
        let hung = attempts(&[(Outcome::Timeout, Billed::Unknown)]);
        let ending = |window| Ending::of(&hung, OnUnknown::AskNext, window).unwrap();
        let known = async |keys: &[CacheKey]| {
            let mut known = Vec::new();
            for key in keys {
                known.push(table.get(key).await.is_some());
            }
            known
        };
        let all = [key(1, 0), key(1, 1), key(1, 2), key(2, 1)];
        for (key, window) in all.into_iter().zip([60, 10, 60, 60]) {
            table.put(key, ending(window * second)).await;
        }
        assert_eq!(known(&all).await, [true; 4]);
        tokio::time::advance(10 * second).await;
        assert_eq!(known(&all).await, [true, false, true, true]);
        table.forget(&key(1, 2)).await;
        assert_eq!(known(&all).await, [true, false, false, true]);
        table.put(key(1, 1), ending(second)).await;
        assert_eq!(known(&all).await, [true, true, false, true]);
        table.forget_person(&key(1, 0).person).await;
        assert_eq!(known(&all).await, [false, false, false, true]);
    }
}
