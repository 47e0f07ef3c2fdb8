//! The last bill about each person, to detect a second one. Persons are stored as digests; the table is bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::subject::{Digest, Half};
use crate::domain::verdict::Verdict;
use crate::storage::table::{At, Epoch, Names, Packed, Record, Table, millis};

/// When full, the oldest bill is evicted. 64 bytes each, kept for as long as the verdict is cached.
const MOST: usize = 200_000;

/// How many lapsed bills a new one removes. More than it adds, so that the table shrinks.
const FEW: usize = 4;

/// How many are removed at a time when nobody waits for it.
const BATCH: usize = 1000;

#[derive(Debug, Default)]
pub(in crate::verify) struct Bills(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were made.
    bills: Table<Kept, 1>,
    epoch: Epoch,
    providers: Names,
    /// Minimum time to keep a bill, in milliseconds: another call of the same flight can end this much later.
    shortest: i64,
}

/// A bill as it comes in.
#[derive(Debug, Clone)]
pub(in crate::verify) struct Bill {
    pub(super) provider: Arc<str>,
    pub(super) verification: Uuid,
    pub(super) verdict: Option<Verdict>,
    at: Instant,
    /// The lifetime of the verdict in the cache: within it, nobody should have to pay again.
    window: Duration,
}

/// A bill as it was.
#[derive(Debug)]
pub(in crate::verify) struct Earlier {
    pub(super) provider: Arc<str>,
    pub(super) verification: Uuid,
    pub(super) verdict: Option<Verdict>,
}

/// A packed [`Bill`].
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    person: Half,
    verification: Uuid,
    at: Packed,
    /// In milliseconds, as `at`.
    window: Packed,
    provider: u16,
    verdict: Option<Verdict>,
}

impl Bill {
    pub(in crate::verify) fn new(
        provider: &Arc<str>,
        verification: Uuid,
        verdict: Option<Verdict>,
        window: Duration,
    ) -> Self {
        Self { provider: Arc::clone(provider), verification, verdict, at: Instant::now(), window }
    }

    /// The same bill, made at `at`.
    pub(super) fn made_at(self, at: Instant) -> Self {
        Self { at, ..self }
    }
}

impl Bills {
    /// Sets the minimum time to keep a bill to the longest time that a call can run.
    pub(super) fn keep_for(&self, longest_call: Duration) {
        self.lock().shortest = millis(longest_call);
    }

    /// How long a bill with this window counts.
    pub(super) fn keeps(&self, window: Duration) -> Duration {
        window.max(Duration::from_millis(u64::try_from(self.lock().shortest).unwrap_or_default()))
    }

    /// Replaces the previous bill about `person`. Returns it if the person should not have been billed again.
    pub(in crate::verify) fn put(&self, person: Digest, bill: Bill) -> Option<Earlier> {
        let mut state = self.lock();
        let now = state.epoch.millis(bill.at);
        state.lapse(now, FEW);
        let known = state.find(person).and_then(|at| state.bills.remove(at));
        let verification = bill.verification;
        state.insert(person, bill, now);
        let known = known.filter(|known| !known.has_lapsed(now, state.shortest))?;
        // All calls of one flight answer the same question, so a second bill is a duplicate even if verdicts are not
        // cached.
        let is_too_soon = known.verification == verification || now - known.at.get() < known.window.get();
        let provider = state.providers.get(known.provider).cloned().unwrap_or_default();
        is_too_soon.then_some(Earlier { provider, verification: known.verification, verdict: known.verdict })
    }

    /// Adds a bill of an earlier process, unless there is one about `person` already.
    pub(super) fn restore(&self, person: Digest, bill: Bill) {
        let mut state = self.lock();
        if state.find(person).is_none() {
            let made_at = state.epoch.millis(bill.at);
            if let Some(at) = state.insert(person, bill, made_at) {
                state.bills.to_front(0, 0, at);
            }
        }
    }

    pub(super) fn forget(&self, person: &Digest) {
        let mut state = self.lock();
        if let Some(at) = state.find(*person) {
            state.bills.remove(at);
        }
    }

    /// Removes lapsed bills. Needed when no bills come in.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        loop {
            // Released between batches, so that calls are not blocked.
            let mut state = self.lock();
            let now = state.epoch.millis(now);
            if !state.lapse(now, BATCH) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a holder panics, at most a bill is missing from the list. It makes room like any other.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(in crate::verify) fn bytes(&self) -> usize {
        self.lock().bills.bytes()
    }
}

impl State {
    fn find(&self, person: Digest) -> Option<At> {
        let person = person.half();
        self.bills.find(person.short(), |bill| bill.person == person)
    }

    /// `None` if there are too many names of providers.
    fn insert(&mut self, person: Digest, bill: Bill, at: i64) -> Option<At> {
        if self.bills.len() >= MOST
            && let Some(oldest) = self.bills.front(0, 0)
        {
            self.bills.remove(oldest);
        }
        let kept = Kept {
            person: person.half(),
            verification: bill.verification,
            at: Packed::new(at),
            window: Packed::new(millis(bill.window)),
            provider: self.providers.number(&bill.provider)?,
            verdict: bill.verdict,
        };
        Some(self.bills.insert(kept, [0]))
    }

    /// Removes at most `most` lapsed bills from the front. Returns whether there may be more. A bill with a short window
    /// may stand behind one with a long window; it is removed with that.
    fn lapse(&mut self, now: i64, most: usize) -> bool {
        let mut left = most;
        while left > 0
            && let Some(at) = self.bills.front(0, 0)
            && self.bills.get(at).is_some_and(|bill| bill.has_lapsed(now, self.shortest))
        {
            left -= 1;
            self.bills.remove(at);
        }
        left == 0
    }
}

impl Kept {
    fn has_lapsed(&self, now: i64, shortest: i64) -> bool {
        now - self.at.get() >= self.window.get().max(shortest)
    }
}

impl Record for Kept {
    fn hash(&self) -> u32 {
        self.person.short()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;

    #[tokio::test(start_paused = true)]
    async fn a_second_bill_counts_within_the_window_of_the_first_and_always_within_one_question() {
        let bills = Bills::default();
        let second = Duration::from_secs(1);
        bills.keep_for(60 * second);
        let person = |n: u8| DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
        let bill = |question, window| Bill::new(&Arc::from("p"), Uuid::from_u128(question), None, window);
        let is_second = |person, bill| bills.put(person, bill).is_some();
        assert!(!is_second(person(1), bill(1, 10 * second)));
        assert!(!is_second(person(2), bill(2, 10 * second)), "another person");
        tokio::time::advance(9 * second).await;
        assert!(is_second(person(1), bill(3, Duration::ZERO)));
        assert!(!is_second(person(1), bill(4, Duration::ZERO)), "what is not remembered may be asked again");
        assert!(is_second(person(1), bill(4, Duration::ZERO)), "but not for the same question");
        bills.forget(&person(2));
        assert!(!is_second(person(2), bill(5, 10 * second)));
        tokio::time::advance(10 * second).await;
        assert!(!is_second(person(2), bill(6, 10 * second)));
    }
}
