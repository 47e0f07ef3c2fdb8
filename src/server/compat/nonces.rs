//! Replay protection: stores the nonces of signed requests.
//!
//! Invariants: a nonce is kept until the timestamp it was signed with has expired, so no request is accepted twice.
//! Each key has its own bounded set. When the set is full, new nonces are refused and counted, because evicting an old
//! one would allow its request again. A nonce is stored only after its signature is verified, so unauthenticated
//! requests cannot fill the set. The sets are in memory only and do not survive a restart.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntCounter, Registry};

use crate::providers::Taken;

#[derive(Debug)]
pub(super) struct Nonces {
    sets: Mutex<NonceSets>,
    /// Randomly keyed, so that callers cannot provoke collisions.
    hasher: RandomState,
    refused: IntCounter,
}

#[derive(Debug, Default)]
struct NonceSets {
    of_keys: HashMap<Arc<str>, NonceSet>,
    /// Nonces that expired before this minute have been removed.
    swept: i64,
}

/// The nonces of one key, each as a 64-bit keyed hash.
#[derive(Debug, Default)]
struct NonceSet {
    known: HashSet<u64>,
    /// The same hashes, by the minute in which they expire.
    by_end: BTreeMap<i64, Vec<u64>>,
}

impl Nonces {
    /// # Errors
    /// When `registry` has its metric already.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Signed requests refused because their key has too many nonces already.";
        let refused = IntCounter::new("idgate_compat_nonces_refused_total", help)?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self { sets: Mutex::default(), hasher: RandomState::new(), refused })
    }

    /// Stores the `nonce` of a request with `key` until `until`. A key can have at most `most` nonces.
    pub(super) fn take(&self, key: &Arc<str>, nonce: &str, until: Timestamp, now: Timestamp, most: usize) -> Taken {
        let hash = self.hasher.hash_one(nonce);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.sweep(minute(now));
        let set = sets.of_keys.entry(Arc::clone(key)).or_default();
        if set.known.contains(&hash) {
            return Taken::Seen;
        }
        if set.known.len() >= most {
            self.refused.inc();
            return Taken::NoRoom;
        }
        set.known.insert(hash);
        set.by_end.entry(minute(until)).or_default().push(hash);
        Taken::New
    }

    /// When the key's first nonces expire and make room.
    pub(super) fn room_in(&self, key: &Arc<str>, now: Timestamp) -> Duration {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let first = sets.of_keys.get(key).and_then(|set| set.by_end.first_key_value());
        // They are removed after the minute in which they expire.
        let end = first.map_or(0, |(end, _)| end.saturating_add(1).saturating_mul(60));
        Duration::from_secs(u64::try_from(end.saturating_sub(now.as_second())).unwrap_or(0).max(1))
    }
}

impl NonceSets {
    fn sweep(&mut self, minute: i64) {
        if self.swept == minute {
            return;
        }
        self.swept = minute;
        self.of_keys.retain(|_, set| {
            while set.by_end.first_key_value().is_some_and(|(end, _)| *end < minute) {
                set.forget_first();
            }
            !set.known.is_empty()
        });
    }
}

impl NonceSet {
    fn forget_first(&mut self) {
        for hash in self.by_end.pop_first().map(|(_, hashes)| hashes).unwrap_or_default() {
            self.known.remove(&hash);
        }
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    fn empty() -> Nonces {
        Nonces::new(&Registry::new()).unwrap()
    }

    #[test]
    fn a_nonce_is_known_until_its_time_is_over_and_to_its_own_key_only() {
        let (nonces, one, other) = (empty(), Arc::from("one"), Arc::from("other"));
        let shown = |key: &Arc<str>, now: &str| nonces.take(key, "n", at("08:15:00"), at(now), 10);
        assert_eq!(shown(&one, "08:00:00"), Taken::New);
        assert_eq!(shown(&other, "08:00:00"), Taken::New);
        for now in ["08:00:00", "08:14:59", "08:15:00"] {
            assert_eq!(shown(&one, now), Taken::Seen, "{now}");
        }
        // By 08:16 the timestamp has expired too, so `n` was removed and only `m` is left.
        assert_eq!(nonces.take(&one, "m", at("08:40:00"), at("08:16:00"), 10), Taken::New);
        assert_eq!(nonces.sets.lock().unwrap().of_keys.len(), 1);
        assert_eq!(nonces.sets.lock().unwrap().of_keys[&one].known.len(), 1);
    }

    #[test]
    fn a_full_room_takes_no_new_nonce_until_others_end_and_forgets_none() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let show = |nonce: &str, until: &str, now: &str| nonces.take(&key, nonce, at(until), at(now), 2);
        assert_eq!(show("early", "08:10:00", "08:00:00"), Taken::New);
        assert_eq!(show("late", "08:20:00", "08:00:00"), Taken::New);
        for _ in 0..2 {
            assert_eq!(show("one more", "08:15:00", "08:00:00"), Taken::NoRoom);
        }
        assert_eq!(nonces.room_in(&key, at("08:00:00")), Duration::from_secs(11 * 60), "when `early` is forgotten");
        assert_eq!(nonces.refused.get(), 2);
        assert_eq!(show("early", "08:10:00", "08:10:00"), Taken::Seen);
        assert_eq!(show("late", "08:20:00", "08:10:00"), Taken::Seen);
        assert_eq!(show("one more", "08:26:00", "08:11:00"), Taken::New);
        // Lowering the limit evicts nothing.
        assert_eq!(nonces.take(&key, "late", at("08:20:00"), at("08:11:00"), 1), Taken::Seen);
        assert_eq!(nonces.take(&key, "another", at("08:26:00"), at("08:11:00"), 1), Taken::NoRoom);
    }

    #[test]
    fn a_clock_that_jumps_back_forgets_nothing() {
        let (nonces, key) = (empty(), Arc::from("key"));
        assert_eq!(nonces.take(&key, "n", at("08:15:00"), at("08:00:00"), 10), Taken::New);
        assert_eq!(nonces.take(&key, "m", at("07:15:00"), at("07:00:00"), 10), Taken::New);
        assert_eq!(nonces.take(&key, "n", at("08:15:00"), at("07:00:00"), 10), Taken::Seen);
    }

    #[test]
    fn of_many_threads_with_one_nonce_one_is_the_first() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let first = || nonces.take(&key, "n", at("08:15:00"), at("08:00:00"), 10) == Taken::New;
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(first)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(firsts, 1);
    }
}
