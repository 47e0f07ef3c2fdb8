//! Finds everything stored about a person, so that it can be erased.
//!
//! Every table finds its entries by the digest of the person, or of their number, alone: whatever client asked, and under
//! whatever policy of whatever configuration. [`Traces`] tracks work in progress, which would otherwise store its verdict
//! a moment later. It survives reloads. Invariant: once [`Runtime::forget`] has returned, no work that began before it
//! stores anything about the person.
//!
//! [`Runtime::forget`]: super::Runtime::forget

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::enumeration::Tries;
use super::scopes::Scopes;
use crate::domain::subject::Digest;

/// The enumeration tries, the work in progress and the scopes of verdicts. Survives reloads.
#[derive(Debug, Default)]
pub struct Traces {
    pub(super) tries: Tries,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) scopes: Scopes,
    pub(super) untold: Untold,
}

/// The most forgotten people that the other replicas are told about later.
const MOST_UNTOLD: usize = 10_000;

/// People who were forgotten while Redis was away, by their digest and that of their number: it still has what it knew of
/// them.
#[derive(Debug, Default)]
pub(super) struct Untold(Mutex<VecDeque<(Digest, Digest)>>);

impl Untold {
    pub(super) fn add(&self, person: Digest, number: Digest) {
        let mut all = self.lock();
        if all.len() < MOST_UNTOLD {
            all.push_back((person, number));
        } else {
            tracing::error!("too many people were forgotten while Redis was away: forget the last ones again");
        }
    }

    /// The one that waits longest.
    pub(super) fn first(&self) -> Option<(Digest, Digest)> {
        self.lock().front().copied()
    }

    pub(super) fn told(&self, one: (Digest, Digest)) {
        self.lock().pop_front_if(|first| *first == one);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Digest, Digest)>> {
        // Every change is a single one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much was erased about one person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    pub verdicts: usize,
    /// Providers at which the person was on hold or had recent calls.
    pub holds: usize,
    /// Tries that the enumeration guard had counted for the number.
    pub tries: usize,
    /// Work in progress. Its waiters still get the verdict, but it is not cached.
    pub under_way: usize,
    /// How many replicas there are, and the names of those that have not confirmed it; `None` if nothing is shared.
    pub replicas: Option<(usize, Vec<String>)>,
}

/// Work in progress, by person.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<HashMap<Digest, Vec<Weak<AtomicBool>>>>);

/// Work about one person, shared by all tasks that do part of it. It ends when the last of them drops it.
#[derive(Debug)]
pub(super) struct Work {
    person: Digest,
    /// Set when the person was erased: nothing may be stored. `None` only during `drop`.
    forgotten: Option<Arc<AtomicBool>>,
    table: Arc<UnderWay>,
}

impl UnderWay {
    /// Begins work about `person`.
    pub(super) fn begin(self: &Arc<Self>, person: Digest) -> Arc<Work> {
        let forgotten = Arc::new(AtomicBool::new(false));
        self.lock().entry(person).or_default().push(Arc::downgrade(&forgotten));
        Arc::new(Work { person, forgotten: Some(forgotten), table: Arc::clone(self) })
    }

    /// Marks all work about `person` so that it stores nothing. Returns how much there is.
    pub(super) fn forget(&self, person: Digest) -> usize {
        let table = self.lock();
        let work = table.get(&person).into_iter().flatten().filter_map(Weak::upgrade);
        work.map(|forgotten| forgotten.store(true, Ordering::SeqCst)).count()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<Weak<AtomicBool>>>> {
        // If a holder panics, at most an entry of finished work remains until the next work about that person ends.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    pub(super) fn person(&self) -> Digest {
        self.person
    }

    /// Whether the person was erased. Check it after each write, so that no write escapes the erasure.
    pub(super) fn is_forgotten(&self) -> bool {
        self.forgotten.as_ref().is_some_and(|forgotten| forgotten.load(Ordering::SeqCst))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Dropped first, so that its weak entry is dead when the table is cleaned.
        self.forgotten = None;
        let mut table = self.table.lock();
        if let Some(work) = table.get_mut(&self.person) {
            work.retain(|one| one.strong_count() > 0);
            if work.is_empty() {
                table.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;

    #[test]
    fn all_work_about_a_person_is_told_and_none_about_others_and_what_has_ended_takes_no_memory() {
        let table = Arc::new(UnderWay::default());
        let person = |n: u8| DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
        let (first, second, other) = (table.begin(person(1)), table.begin(person(1)), table.begin(person(2)));
        let part = Arc::clone(&first);
        drop(first);
        assert_eq!(table.forget(person(1)), 2);
        assert!(part.is_forgotten() && second.is_forgotten() && !other.is_forgotten());
        // Work that begins after the erasure is not affected.
        let third = table.begin(person(1));
        assert!(!third.is_forgotten());
        drop((part, second, other));
        assert_eq!((table.forget(person(1)), table.forget(person(2))), (1, 0));
        drop(third);
        assert!(table.lock().is_empty());
    }
}
