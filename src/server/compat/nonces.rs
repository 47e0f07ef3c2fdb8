//! Which signed requests were here before.
//!
//! Invariants: a nonce is known until the time stamp that it was signed with is no longer good, so that no request is
//! believed twice. Each key has a room of its own and of a bounded size: when it is full, the nonces that end first are
//! forgotten, and counted, since their requests could be repeated. A nonce is written down only after its signature was
//! found right, so that strangers fill nothing. All of it is gone with the process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use prometheus::{IntCounter, Registry};

/// The nonces of all keys.
#[derive(Debug)]
pub(super) struct Nonces {
    rooms: Mutex<Rooms>,
    /// Keyed by chance: nobody can make two nonces look alike.
    hasher: RandomState,
    forgotten: IntCounter,
}

#[derive(Debug, Default)]
struct Rooms {
    of_keys: HashMap<Arc<str>, Room>,
    /// The minute before which everything was swept out.
    swept: i64,
}

/// The nonces of one key, as 64 bits of a keyed hash each.
#[derive(Debug, Default)]
struct Room {
    known: HashSet<u64>,
    /// The same by the minute in which they end.
    by_end: BTreeMap<i64, Vec<u64>>,
}

impl Nonces {
    /// An empty store.
    ///
    /// # Errors
    /// When `registry` has its metric already.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Nonces of signed requests that were forgotten before their time, for want of room.";
        let forgotten = IntCounter::new("idgate_compat_nonces_forgotten_total", help)?;
        registry.register(Box::new(forgotten.clone()))?;
        Ok(Self { rooms: Mutex::default(), hasher: RandomState::new(), forgotten })
    }

    /// Whether `nonce` comes with `key` for the first time; it does not until `until`. Of each key `most` are known.
    pub(super) fn first_time(
        &self,
        key: &Arc<str>,
        nonce: &str,
        until: Timestamp,
        now: Timestamp,
        most: usize,
    ) -> bool {
        let print = self.hasher.hash_one(nonce);
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.sweep(minute(now));
        let room = rooms.of_keys.entry(Arc::clone(key)).or_default();
        if room.known.contains(&print) {
            return false;
        }
        while room.known.len() >= most.max(1) {
            self.forgotten.inc_by(room.forget_first());
        }
        room.known.insert(print);
        room.by_end.entry(minute(until)).or_default().push(print);
        true
    }
}

impl Rooms {
    /// Forgets what ended before `minute`.
    fn sweep(&mut self, minute: i64) {
        if self.swept == minute {
            return;
        }
        self.swept = minute;
        self.of_keys.retain(|_, room| {
            while room.by_end.first_key_value().is_some_and(|(end, _)| *end < minute) {
                room.forget_first();
            }
            !room.known.is_empty()
        });
    }
}

impl Room {
    /// Forgets those that end first, and says how many that were.
    fn forget_first(&mut self) -> u64 {
        let first = self.by_end.pop_first().map(|(_, prints)| prints).unwrap_or_default();
        for print in &first {
            self.known.remove(print);
        }
        first.len() as u64
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
        let shown = |key: &Arc<str>, now: &str| nonces.first_time(key, "n", at("08:15:00"), at(now), 10);
        assert!(shown(&one, "08:00:00"));
        assert!(shown(&other, "08:00:00"));
        for now in ["08:00:00", "08:14:59", "08:15:00"] {
            assert!(!shown(&one, now), "{now}");
        }
        // By now the signature itself is refused, and the room is empty again.
        assert!(nonces.first_time(&one, "m", at("08:40:00"), at("08:16:00"), 10));
        assert_eq!(nonces.rooms.lock().unwrap().of_keys.len(), 1);
        assert_eq!(nonces.rooms.lock().unwrap().of_keys[&one].known.len(), 1);
    }

    #[test]
    fn a_full_room_forgets_what_ends_first_and_counts_it() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let now = at("08:00:00");
        let show = |nonce: &str, until: &str| nonces.first_time(&key, nonce, at(until), now, 3);
        assert!(show("late", "08:20:00") && show("early", "08:10:00") && show("next", "08:11:00"));
        assert!(!show("early", "08:10:00"));
        assert!(show("one more", "08:15:00"));
        assert_eq!(nonces.forgotten.get(), 1);
        assert!(!show("late", "08:20:00") && !show("next", "08:11:00") && !show("one more", "08:15:00"));
        assert!(show("early", "08:10:00"), "it was forgotten, which is counted");
    }

    #[test]
    fn a_clock_that_jumps_back_forgets_nothing() {
        let (nonces, key) = (empty(), Arc::from("key"));
        assert!(nonces.first_time(&key, "n", at("08:15:00"), at("08:00:00"), 10));
        assert!(nonces.first_time(&key, "m", at("07:15:00"), at("07:00:00"), 10));
        assert!(!nonces.first_time(&key, "n", at("08:15:00"), at("07:00:00"), 10));
    }

    #[test]
    fn of_many_threads_with_one_nonce_one_is_the_first() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let first = || nonces.first_time(&key, "n", at("08:15:00"), at("08:00:00"), 10);
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(first)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(firsts, 1);
    }
}
