//! Verdicts in this process's memory.
//!
//! Entries are packed, because there may be a million of them: 76 bytes each, with their share of the index, if their
//! provider's reference is a UUID or short. One lock, held for a few table operations and never across an await. They
//! cost the same however many entries there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::cache_key::{CacheKey, Scope};
use super::config::Config;
use super::reference::Reference;
use super::remembered::Remembered;
use crate::domain::clock::{Moment, Monotonic};
use crate::domain::subject::{Digest, Half};
use crate::domain::verdict::{RequestId, Verdict};
use crate::storage::table::{At, MOST_RECORDS, Names, Packed, Record, Table, millis};

/// How many lapsed entries a write removes. More than it adds, so that the table shrinks.
const FEW: usize = 4;

/// How many are removed at a time when nobody waits for it.
const BATCH: usize = 1000;

/// The lists of a table: all entries, least recently used first, and those of each verdict, oldest first.
const BY_USE: usize = 0;
const BY_AGE: usize = 1;
const ALL: usize = 0;

#[derive(Debug)]
pub(super) struct Memory {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Table<Entry, 2>,
    /// References that do not fit in an entry.
    long: Table<Long, 0>,
    providers: Names,
}

/// A packed [`Remembered`]. All fields are small and unaligned, so that none is padded.
#[derive(Debug, Clone, Copy)]
struct Entry {
    person: Half,
    scope: Scope,
    reference: Reference,
    verified_at_ms: Packed,
    monotonic_ms: Packed,
    provider: u16,
    verdict: Verdict,
}

#[derive(Debug)]
struct Long {
    person: Half,
    scope: Scope,
    reference: Option<RequestId>,
}

impl Memory {
    pub(super) fn new(most: u64) -> Self {
        let most = usize::try_from(most).map_or(MOST_RECORDS, |most| most.min(MOST_RECORDS));
        Self { most, state: Mutex::default() }
    }

    /// What is cached there and has not lapsed.
    pub(super) fn get(&self, key: &CacheKey, now: Monotonic, lifetimes: &Config) -> Option<Remembered> {
        let mut state = self.lock();
        let at = state.find(key)?;
        let entry = *state.entries.get(at)?;
        if entry.has_lapsed(now, lifetimes) {
            state.remove(at);
            return None;
        }
        state.entries.to_back(BY_USE, ALL, at);
        let provider = Arc::clone(state.providers.get(entry.provider)?);
        let long = if entry.reference.is_long() { state.long_reference(key) } else { None };
        drop(state);
        Some(Remembered {
            verdict: entry.verdict,
            provider,
            request_id: long.or_else(|| entry.reference.unpacked()),
            verified_at: Moment {
                at: Timestamp::from_millisecond(entry.verified_at_ms.get()).ok()?,
                monotonic: Monotonic(entry.monotonic_ms.get()),
            },
        })
    }

    /// Caches `verdict`, which was given just now, in place of any other. If there is no room, the least recently used
    /// entry makes it: the answer just paid for is never rejected.
    pub(super) fn put(&self, key: &CacheKey, verdict: Remembered, lifetimes: &Config) {
        let mut state = self.lock();
        state.lapse(verdict.verified_at.monotonic, lifetimes, FEW);
        state.forget(key);
        state.insert(key, verdict, self.most);
    }

    /// Caches a verdict that was given some time ago, unless there is another.
    pub(super) fn add(&self, key: &CacheKey, verdict: Remembered, now: Monotonic, lifetimes: &Config) {
        let mut state = self.lock();
        if let Some(at) = state.find(key) {
            if state.entries.get(at).is_some_and(|entry| !entry.has_lapsed(now, lifetimes)) {
                return;
            }
            state.remove(at);
        }
        let list = verdict.verdict as usize;
        if let Some(at) = state.insert(key, verdict, self.most) {
            // It is older than those given since the start. Among its like it may stand behind a younger one; then it
            // lapses all the same, and is removed later.
            state.entries.to_front(BY_AGE, list, at);
        }
    }

    pub(super) fn forget(&self, key: &CacheKey) -> bool {
        self.lock().forget(key)
    }

    /// Removes the verdicts of every scope about `person`. Returns how many there were.
    pub(super) fn forget_person(&self, person: &Digest) -> usize {
        let (mut state, person, mut forgotten) = (self.lock(), person.half(), 0);
        while let Some(at) = state.entries.find(person.short(), |entry| entry.person == person) {
            state.remove(at);
            forgotten += 1;
        }
        forgotten
    }

    pub(super) fn forget_all(&self) {
        // Freed without the lock.
        drop(std::mem::take(&mut *self.lock()));
    }

    /// The number of entries, without those that have lapsed.
    pub(super) fn entries(&self, now: Monotonic, lifetimes: &Config) -> usize {
        loop {
            // Released between batches, so that questions are not blocked.
            let mut state = self.lock();
            if !state.lapse(now, lifetimes, BATCH) {
                return state.entries.len();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a holder panics, an entry may be missing from a list. It lapses all the same when somebody asks for it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let state = self.lock();
        state.entries.bytes() + state.long.bytes()
    }
}

impl State {
    fn find(&self, key: &CacheKey) -> Option<At> {
        let person = key.person.half();
        self.entries.find(person.short(), |entry| entry.person == person && entry.scope == key.scope)
    }

    fn forget(&mut self, key: &CacheKey) -> bool {
        self.find(key).is_some_and(|at| self.remove(at))
    }

    fn remove(&mut self, at: At) -> bool {
        let Some(entry) = self.entries.remove(at) else { return false };
        if entry.reference.is_long()
            && let Some(at) = self.find_long(entry.person, entry.scope)
        {
            self.long.remove(at);
        }
        true
    }

    fn insert(&mut self, key: &CacheKey, verdict: Remembered, most: usize) -> Option<At> {
        let provider = self.providers.number(&verdict.provider)?;
        if self.entries.len() >= most
            && let Some(at) = self.entries.front(BY_USE, ALL)
        {
            self.remove(at);
        }
        let (person, scope) = (key.person.half(), key.scope);
        let entry = Entry {
            person,
            scope,
            reference: Reference::packed(verdict.request_id.as_ref()),
            verified_at_ms: Packed::new(verdict.verified_at.at.as_millisecond()),
            monotonic_ms: Packed::new(verdict.verified_at.monotonic.0),
            provider,
            verdict: verdict.verdict,
        };
        if entry.reference.is_long() {
            self.long.insert(Long { person, scope, reference: verdict.request_id }, []);
        }
        Some(self.entries.insert(entry, [ALL, verdict.verdict as usize]))
    }

    /// Removes at most `most` lapsed entries. Returns whether there may be more.
    fn lapse(&mut self, now: Monotonic, lifetimes: &Config, most: usize) -> bool {
        let mut left = most;
        for verdict in Verdict::ALL {
            while left > 0
                && let Some(at) = self.entries.front(BY_AGE, verdict as usize)
                && self.entries.get(at).is_some_and(|entry| entry.has_lapsed(now, lifetimes))
            {
                left -= 1;
                self.remove(at);
            }
        }
        left == 0
    }

    fn find_long(&self, person: Half, scope: Scope) -> Option<At> {
        self.long.find(person.short(), |long| long.person == person && long.scope == scope)
    }

    fn long_reference(&self, key: &CacheKey) -> Option<RequestId> {
        self.long.get(self.find_long(key.person.half(), key.scope)?)?.reference.clone()
    }
}

impl Entry {
    fn has_lapsed(&self, now: Monotonic, lifetimes: &Config) -> bool {
        now.0.saturating_sub(self.monotonic_ms.get()) >= millis(lifetimes.lifetime(self.verdict))
    }
}

impl Record for Entry {
    fn hash(&self) -> u32 {
        self.person.short()
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            person: Half::default(),
            scope: Scope::DEFAULT,
            reference: Reference::default(),
            verified_at_ms: Packed::default(),
            monotonic_ms: Packed::default(),
            provider: 0,
            verdict: Verdict::NoRecord,
        }
    }
}

impl Record for Long {
    fn hash(&self) -> u32 {
        self.person.short()
    }
}

impl Default for Long {
    fn default() -> Self {
        Self { person: Half::default(), scope: Scope::DEFAULT, reference: None }
    }
}
