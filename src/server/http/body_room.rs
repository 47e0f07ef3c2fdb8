//! Room for request bodies that have not arrived in whole.
//!
//! Everybody has room: where it is used up, the body that has waited longest makes place, not the newcomer. Of one
//! connection and of one owner (an address, or a key) it is their own oldest body, so that nobody displaces others.
//!
//! Invariant: a [`Place`] is in all three lists or in none; dropping it removes it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// Whose body it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nobody that is known.
    Address(IpAddr),
    /// The key that the request names.
    Key(Arc<str>),
}

/// How many bodies may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub in_all: usize,
    pub per_owner: usize,
    pub per_connection: usize,
}

/// The bodies that wait, oldest first.
#[derive(Debug)]
pub struct BodyRoom {
    limits: Limits,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    in_all: HashMap<u64, (Owner, SocketAddr, oneshot::Sender<()>)>,
    by_age: BTreeSet<u64>,
    by_owner: HashMap<Owner, BTreeSet<u64>>,
    by_connection: HashMap<SocketAddr, BTreeSet<u64>>,
}

/// The place of one body.
#[derive(Debug)]
pub struct Place<'a> {
    room: &'a BodyRoom,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl BodyRoom {
    pub fn new(limits: Limits) -> Self {
        Self { limits, waiting: Mutex::default() }
    }

    /// A place for a body of `owner` on the connection of `peer`.
    pub fn enter(&self, owner: Owner, peer: SocketAddr) -> Place<'_> {
        let (keep, displaced) = oneshot::channel();
        let Limits { in_all, per_owner, per_connection } = self.limits;
        let number = self.with(|waiting| {
            let full = |waiting: Option<&BTreeSet<u64>>, most| {
                waiting.filter(|numbers| numbers.len() >= most).and_then(BTreeSet::first).copied()
            };
            let oldest = full(waiting.by_connection.get(&peer), per_connection)
                .or_else(|| full(waiting.by_owner.get(&owner), per_owner))
                .or_else(|| full(Some(&waiting.by_age), in_all));
            if let Some(oldest) = oldest {
                waiting.remove(oldest);
            }
            let number = waiting.next;
            waiting.next += 1;
            waiting.by_age.insert(number);
            waiting.by_owner.entry(owner.clone()).or_default().insert(number);
            waiting.by_connection.entry(peer).or_default().insert(number);
            waiting.in_all.insert(number, (owner, peer, keep));
            number
        });
        Place { room: self, number, displaced }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Waiting {
    fn remove(&mut self, number: u64) {
        fn take<K: Eq + Hash>(from: &mut HashMap<K, BTreeSet<u64>>, key: K, number: u64) {
            if let Entry::Occupied(mut numbers) = from.entry(key) {
                numbers.get_mut().remove(&number);
                if numbers.get().is_empty() {
                    numbers.remove();
                }
            }
        }
        if let Some((owner, peer, _displaced)) = self.in_all.remove(&number) {
            self.by_age.remove(&number);
            take(&mut self.by_owner, owner, number);
            take(&mut self.by_connection, peer, number);
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("in_all", &self.in_all.len()).finish_non_exhaustive()
    }
}

impl Place<'_> {
    /// Resolves when another body needs this place.
    pub async fn displaced(&mut self) {
        let _ = (&mut self.displaced).await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.with(|waiting| waiting.remove(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, host], port).into()
    }

    fn by_address(room: &BodyRoom, host: u8, port: u16) -> Place<'_> {
        room.enter(Owner::Address(peer(host, port).ip()), peer(host, port))
    }

    fn lost(places: &mut [Place<'_>]) -> Vec<usize> {
        let is_lost = |place: &mut Place<'_>| place.displaced.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        places.iter_mut().enumerate().filter_map(|(index, place)| is_lost(place).then_some(index)).collect()
    }

    #[test]
    fn the_oldest_of_the_connection_of_the_owner_and_of_all_makes_place_in_this_order() {
        let room = BodyRoom::new(Limits { in_all: 5, per_owner: 3, per_connection: 2 });
        let mut places = vec![by_address(&room, 1, 1), by_address(&room, 2, 1), by_address(&room, 2, 1)];
        places.push(by_address(&room, 2, 1));
        assert_eq!(lost(&mut places), [1], "its connection is full");
        places.push(by_address(&room, 2, 2));
        assert_eq!(lost(&mut places), [1]);
        places.push(by_address(&room, 2, 3));
        assert_eq!(lost(&mut places), [1, 2], "its address is full");
        places.push(by_address(&room, 3, 1));
        assert_eq!(lost(&mut places), [1, 2]);
        places.push(by_address(&room, 4, 1));
        assert_eq!(lost(&mut places), [0, 1, 2], "all is full");
        drop(places);
        let waiting = room.waiting.lock().unwrap();
        assert!(waiting.in_all.is_empty() && waiting.by_age.is_empty());
        assert!(waiting.by_owner.is_empty() && waiting.by_connection.is_empty());
    }
}
