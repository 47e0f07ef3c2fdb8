//! Replay protection: stores the nonces of signed requests.
//!
//! Invariants: a nonce is kept until the timestamp it was signed with has expired by monotonic time, which no step of the
//! wall clock shortens, and a little longer: each request removes a bounded number of expired ones. After that its end
//! stays known, and no request with such an end is accepted again, so that none is accepted twice when the wall clock
//! steps back.
//! Each key has its own bounded set. When the set is full, new nonces are refused and counted, because evicting an old
//! one would allow its request again. A nonce is stored only after its signature is verified, so unauthenticated
//! requests cannot fill the set. The sets are in memory only and do not survive a restart.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::{IntCounter, Registry};

use crate::domain::clock::Monotonic;
use crate::providers::Taken;

#[derive(Debug)]
pub(super) struct Nonces {
    sets: Mutex<NonceSets>,
    /// Randomly keyed, so that callers cannot provoke collisions.
    hasher: RandomState,
    refused: IntCounter,
}

/// Expired nonces of one set that a request removes at most: all requests wait for one lock.
const MOST_FORGOTTEN: usize = 16;
/// Sets that a request looks at besides its own, so that those of keys which have fallen silent are emptied too.
const OTHER_SETS: usize = 2;

#[derive(Debug, Default)]
struct NonceSets {
    of_keys: HashMap<Arc<str>, NonceSet>,
    /// The keys that have a set, in the order in which requests look at them.
    turns: VecDeque<Arc<str>>,
    gone: Gone,
}

/// The ends (Unix time, minutes) of the nonces that were removed, as ranges: the first minute and the last.
#[derive(Debug, Default)]
struct Gone(BTreeMap<i64, i64>);

/// Ends this close to each other, in minutes, make one range.
const ADJOINING: i64 = 60;
/// The oldest ranges are forgotten beyond this number. A range is a time without a pause of an hour.
const MOST_RANGES: usize = 1000;

/// The nonces of one key, each as a 64-bit keyed hash.
#[derive(Debug, Default)]
struct NonceSet {
    known: HashSet<u64>,
    /// The same hashes with their ends, by the minute of monotonic time in which they expire.
    by_end: BTreeMap<i64, Vec<(u64, i64)>>,
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

    /// Stores the `nonce` of a request with `key` until `until`, as seen at `wall`. A key can have at most `most` nonces.
    pub(super) fn take(
        &self,
        key: &Arc<str>,
        nonce: &str,
        (until, wall): (Timestamp, Timestamp),
        now: Monotonic,
        most: usize,
    ) -> Taken {
        let hash = self.hasher.hash_one(nonce);
        let ends = now.0.saturating_add(until.as_millisecond().saturating_sub(wall.as_millisecond()));
        let this_minute = now.0.div_euclid(60_000);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.sweep(key, this_minute);
        if sets.gone.has(minute(until)) {
            return Taken::Seen;
        }
        let set = sets.of(key);
        if set.known.contains(&hash) {
            return Taken::Seen;
        }
        // What has expired takes no room, even if there was no time to remove it.
        if set.known.len() >= most && set.known.len() - set.expired(this_minute) >= most {
            self.refused.inc();
            return Taken::NoRoom;
        }
        set.known.insert(hash);
        set.by_end.entry(ends.div_euclid(60_000)).or_default().push((hash, minute(until)));
        Taken::New
    }

    /// When the key's first nonces expire and make room.
    pub(super) fn room_in(&self, key: &Arc<str>, now: Monotonic) -> Duration {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let this_minute = now.0.div_euclid(60_000);
        let first = sets.of_keys.get(key).and_then(|set| set.by_end.range(this_minute..).next());
        // They are removed after the minute in which they expire.
        let end = first.map_or(0, |(end, _)| end.saturating_add(1).saturating_mul(60));
        Duration::from_secs(u64::try_from(end.saturating_sub(now.0.div_euclid(1000))).unwrap_or(0).max(1))
    }
}

impl NonceSets {
    fn of(&mut self, key: &Arc<str>) -> &mut NonceSet {
        let turns = &mut self.turns;
        self.of_keys.entry(Arc::clone(key)).or_insert_with(|| {
            turns.push_back(Arc::clone(key));
            NonceSet::default()
        })
    }

    /// Removes some of what has expired before `minute`: of this key, and of the keys whose turn it is.
    fn sweep(&mut self, key: &Arc<str>, minute: i64) {
        if let Some(set) = self.of_keys.get_mut(key) {
            set.forget(minute, &mut self.gone);
        }
        for _ in 0..OTHER_SETS.min(self.turns.len()) {
            let Some(key) = self.turns.pop_front() else { return };
            let Some(set) = self.of_keys.get_mut(&key) else { continue };
            set.forget(minute, &mut self.gone);
            if set.known.is_empty() {
                self.of_keys.remove(&key);
            } else {
                self.turns.push_back(key);
            }
        }
    }
}

impl NonceSet {
    fn forget(&mut self, minute: i64, gone: &mut Gone) {
        for _ in 0..MOST_FORGOTTEN {
            let Some(mut first) = self.by_end.first_entry().filter(|first| *first.key() < minute) else { return };
            if let Some((hash, end)) = first.get_mut().pop() {
                self.known.remove(&hash);
                gone.add(end);
            }
            if first.get().is_empty() {
                first.remove();
            }
        }
    }

    /// How many have expired before `minute` and are still here.
    fn expired(&self, minute: i64) -> usize {
        self.by_end.range(..minute).map(|(_, hashes)| hashes.len()).sum()
    }
}

impl Gone {
    fn has(&self, end: i64) -> bool {
        self.0.range(..=end).next_back().is_some_and(|(_, last)| *last >= end)
    }

    fn add(&mut self, end: i64) {
        let (mut first, mut last) = (end, end);
        if let Some((from, to)) = self.0.range(..=end).next_back().filter(|(_, to)| **to + ADJOINING >= end) {
            (first, last) = (*from, end.max(*to));
        }
        while let Some((from, to)) = self.0.range(first + 1..=last + ADJOINING).next().map(|(from, to)| (*from, *to)) {
            self.0.remove(&from);
            last = last.max(to);
        }
        self.0.insert(first, last);
        if self.0.len() > MOST_RANGES {
            self.0.pop_first();
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

    /// Monotonic time that agrees with the wall clock.
    fn steady(wall: Timestamp) -> Monotonic {
        Monotonic(wall.as_millisecond() - at("08:00:00").as_millisecond())
    }

    fn empty() -> Nonces {
        Nonces::new(&Registry::new()).unwrap()
    }

    #[test]
    fn a_nonce_is_known_until_its_time_is_over_and_to_its_own_key_only() {
        let (nonces, one, other) = (empty(), Arc::from("one"), Arc::from("other"));
        let shown = |key: &Arc<str>, now: &str| nonces.take(key, "n", (at("08:15:00"), at(now)), steady(at(now)), 10);
        assert_eq!(shown(&one, "08:00:00"), Taken::New);
        assert_eq!(shown(&other, "08:00:00"), Taken::New);
        for now in ["08:00:00", "08:14:59", "08:15:00"] {
            assert_eq!(shown(&one, now), Taken::Seen, "{now}");
        }
        // By 08:16 the timestamp has expired too, so `n` was removed and only `m` is left.
        assert_eq!(nonces.take(&one, "m", (at("08:40:00"), at("08:16:00")), steady(at("08:16:00")), 10), Taken::New);
        assert_eq!(nonces.sets.lock().unwrap().of_keys.len(), 1);
        assert_eq!(nonces.sets.lock().unwrap().of_keys[&one].known.len(), 1);
    }

    #[test]
    fn a_full_room_takes_no_new_nonce_until_others_end_and_forgets_none() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let show =
            |nonce: &str, until: &str, now: &str| nonces.take(&key, nonce, (at(until), at(now)), steady(at(now)), 2);
        assert_eq!(show("early", "08:10:00", "08:00:00"), Taken::New);
        assert_eq!(show("late", "08:20:00", "08:00:00"), Taken::New);
        for _ in 0..2 {
            assert_eq!(show("one more", "08:15:00", "08:00:00"), Taken::NoRoom);
        }
        assert_eq!(
            nonces.room_in(&key, steady(at("08:00:00"))),
            Duration::from_secs(11 * 60),
            "when `early` is forgotten"
        );
        assert_eq!(nonces.refused.get(), 2);
        assert_eq!(show("early", "08:10:00", "08:10:00"), Taken::Seen);
        assert_eq!(show("late", "08:20:00", "08:10:00"), Taken::Seen);
        assert_eq!(show("one more", "08:26:00", "08:11:00"), Taken::New);
        // Lowering the limit evicts nothing.
        assert_eq!(nonces.take(&key, "late", (at("08:20:00"), at("08:11:00")), steady(at("08:11:00")), 1), Taken::Seen);
        assert_eq!(
            nonces.take(&key, "another", (at("08:26:00"), at("08:11:00")), steady(at("08:11:00")), 1),
            Taken::NoRoom
        );
    }

    #[test]
    fn a_step_of_the_clock_lets_no_recorded_request_in_again() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let minute = |minute: i64| Monotonic(minute * 60_000);
        let shown = |nonce: &str, until: &str, wall: &str, now: i64| {
            nonces.take(&key, nonce, (at(until), at(wall)), minute(now), 10)
        };
        assert_eq!(shown("n", "08:15:00", "08:00:00", 0), Taken::New);
        // A step forward, with a question that sweeps, and the step back.
        assert_eq!(shown("m", "18:15:00", "18:00:00", 1), Taken::New);
        assert_eq!(shown("n", "08:15:00", "08:02:00", 2), Taken::Seen);
        // A step back after `n` has expired and was forgotten.
        assert_eq!(shown("o", "08:35:00", "08:20:00", 20), Taken::New);
        assert_eq!(shown("n", "08:15:00", "08:05:00", 25), Taken::Seen);
        // A caller whose clock went back with ours is let in again where nobody was before.
        assert_eq!(shown("p", "07:15:00", "07:00:00", 26), Taken::New);
        // What others signed at the wrong time is in nobody's way, nor let in when that time comes.
        assert_eq!(shown("q", "08:50:00", "08:35:00", 35), Taken::New);
        assert_eq!(shown("m", "18:15:00", "18:00:00", 600), Taken::Seen);
        assert_eq!(shown("r", "18:20:00", "18:05:00", 605), Taken::New);
    }

    /// They expire a minute's worth at once, and every request waits for the one that removes them.
    #[test]
    fn a_request_removes_a_bounded_number_of_expired_nonces_and_all_go_in_the_end() {
        const MOST: usize = 10_000;
        let (nonces, busy, silent) = (empty(), Arc::from("busy"), Arc::from("silent"));
        let take = |key: &Arc<str>, nonce: &str, until: &str, now: &str| {
            nonces.take(key, nonce, (at(until), at(now)), steady(at(now)), MOST)
        };
        let left = || nonces.sets.lock().unwrap().of_keys.values().map(|set| set.known.len()).sum::<usize>();
        for n in 0..MOST {
            for key in [&busy, &silent] {
                assert_eq!(take(key, &n.to_string(), "08:15:00", "08:00:00"), Taken::New);
            }
        }
        let (mut before, mut requests) = (left(), 0);
        while nonces.sets.lock().unwrap().of_keys.contains_key(&silent) {
            // The set is full of what has expired, which takes no room.
            assert_eq!(take(&busy, &format!("new-{requests}"), "08:40:00", "08:20:00"), Taken::New);
            assert_eq!(take(&busy, "17", "08:15:00", "08:20:00"), Taken::Seen, "removed or not");
            let now = left();
            assert!(before + 1 - now <= 2 * MOST_FORGOTTEN * (1 + OTHER_SETS), "{before} to {now}");
            (before, requests) = (now, requests + 1);
            assert!(requests < MOST, "{now} are never removed");
        }
        assert_eq!(left(), requests);
    }

    #[test]
    fn ranges_grow_together_and_are_bounded() {
        let mut gone = Gone::default();
        for end in [1000, 1060, 900, 2000] {
            gone.add(end);
        }
        assert_eq!(gone.0.iter().collect::<Vec<_>>(), [(&900, &900), (&1000, &1060), (&2000, &2000)]);
        gone.add(950);
        assert_eq!(gone.0.iter().collect::<Vec<_>>(), [(&900, &1060), (&2000, &2000)]);
        assert!(gone.has(900) && gone.has(1030) && !gone.has(1061) && !gone.has(899));
        (0..2000).for_each(|day| gone.add(10_000 + day * 1440));
        assert_eq!(gone.0.len(), MOST_RANGES);
    }

    #[test]
    fn of_many_threads_with_one_nonce_one_is_the_first() {
        let (nonces, key) = (empty(), Arc::from("key"));
        let first =
            || nonces.take(&key, "n", (at("08:15:00"), at("08:00:00")), steady(at("08:00:00")), 10) == Taken::New;
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(first)).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(firsts, 1);
    }
}
