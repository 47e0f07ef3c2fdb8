//! The last bill about each person, to detect a second one. Persons are stored as digests; the table is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::subject::Digest;
use crate::domain::verdict::Verdict;

/// When full, the least recently used entry is evicted. About 200 bytes each, kept for as long as the verdict is
/// cached.
const MOST: u64 = 200_000;

#[derive(Debug)]
pub(super) struct Bills {
    table: Cache<Digest, Bill>,
    /// Minimum time to keep a bill, in milliseconds: another call of the same flight can end this much later.
    shortest: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
pub(super) struct Bill {
    pub(super) provider: Arc<str>,
    pub(super) verification: Uuid,
    pub(super) verdict: Option<Verdict>,
    at: Instant,
    /// The lifetime of the verdict in the cache: within it, nobody should have to pay again.
    window: Duration,
}

struct ByWindow(Arc<AtomicU64>);

impl Bill {
    pub(super) fn new(provider: &Arc<str>, verification: Uuid, verdict: Option<Verdict>, window: Duration) -> Self {
        Self { provider: Arc::clone(provider), verification, verdict, at: Instant::now(), window }
    }

    /// The same bill, made at `at`.
    pub(super) fn made_at(self, at: Instant) -> Self {
        Self { at, ..self }
    }
}

impl Bills {
    pub(super) fn new() -> Self {
        let shortest = Arc::<AtomicU64>::default();
        let table = Cache::builder()
            .max_capacity(MOST)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByWindow(Arc::clone(&shortest)))
            .build();
        Self { table, shortest }
    }

    /// Sets the minimum time to keep a bill to the longest time that a call can run.
    pub(super) fn keep_for(&self, longest_call: Duration) {
        self.shortest.store(u64::try_from(longest_call.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Replaces the previous bill about `person`. Returns it if the person should not have been billed again.
    pub(super) async fn put(&self, person: Digest, bill: Bill) -> Option<Bill> {
        let (at, verification) = (bill.at, bill.verification);
        let mut earlier = None;
        self.table
            .entry(person)
            .and_upsert_with(|known| {
                earlier = known.map(moka::Entry::into_value);
                std::future::ready(bill)
            })
            .await;
        // All calls of one flight answer the same question, so a second bill is a duplicate even if verdicts are not
        // cached.
        let too_soon = |known: &Bill| known.verification == verification || at.duration_since(known.at) < known.window;
        earlier.filter(too_soon)
    }

    /// Adds a bill of an earlier process, unless there is one about `person` already.
    pub(super) async fn restore(&self, person: Digest, bill: Bill) {
        self.table.entry(person).or_insert(bill).await;
    }

    pub(super) async fn forget(&self, person: &Digest) {
        self.table.invalidate(person).await;
    }
}

impl ByWindow {
    fn keep(&self, bill: &Bill) -> Duration {
        bill.window.max(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

impl Expiry<Digest, Bill> for ByWindow {
    fn expire_after_create(&self, _person: &Digest, bill: &Bill, _at: std::time::Instant) -> Option<Duration> {
        Some(self.keep(bill))
    }

    // The default implementation keeps the expiry of the overwritten entry.
    fn expire_after_update(
        &self,
        _person: &Digest,
        bill: &Bill,
        _at: std::time::Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.keep(bill))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;

    #[tokio::test(start_paused = true)]
    async fn a_second_bill_counts_within_the_window_of_the_first_and_always_within_one_question() {
        let bills = Bills::new();
        let second = Duration::from_secs(1);
        bills.keep_for(60 * second);
        let person = |n: u8| DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
        let bill = |question, window| Bill::new(&Arc::from("p"), Uuid::from_u128(question), None, window);
        let is_second = async |person, bill| bills.put(person, bill).await.is_some();
        assert!(!is_second(person(1), bill(1, 10 * second)).await);
        assert!(!is_second(person(2), bill(2, 10 * second)).await, "another person");
        tokio::time::advance(9 * second).await;
        assert!(is_second(person(1), bill(3, Duration::ZERO)).await);
        assert!(!is_second(person(1), bill(4, Duration::ZERO)).await, "what is not remembered may be asked again");
        assert!(is_second(person(1), bill(4, Duration::ZERO)).await, "but not for the same question");
        bills.forget(&person(2)).await;
        assert!(!is_second(person(2), bill(5, 10 * second)).await);
        tokio::time::advance(10 * second).await;
        assert!(!is_second(person(2), bill(6, 10 * second)).await);
    }
}
