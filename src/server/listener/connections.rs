//! Counts connections (open, refused, cut) and failed handshakes, and shares the places among addresses.
//!
//! Invariant: `open` is the number of live [`Slot`]s, and so is the sum over all addresses; dropping one decrements both.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::tls::Failure;

/// The counters of one listener, shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicUsize,
    refused: AtomicU64,
    timed_out: AtomicU64,
    evicted: AtomicU64,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    /// In the order of [`Failure::ALL`].
    handshakes_failed: [AtomicU64; Failure::ALL.len()],
}

impl Connections {
    pub fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    /// Connections refused because too many were open, in all or from one address.
    pub fn refused_total(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// Connections cut because a request head was late, they were idle, or the client did not read its answer.
    pub fn timed_out_total(&self) -> u64 {
        self.0.timed_out.load(Relaxed)
    }

    /// Connections cut because the unfinished heads of all connections together took too much memory.
    pub fn evicted_total(&self) -> u64 {
        self.0.evicted.load(Relaxed)
    }

    pub(super) fn note_timeout(&self) {
        self.0.timed_out.fetch_add(1, Relaxed);
    }

    pub(super) fn note_eviction(&self) {
        self.0.evicted.fetch_add(1, Relaxed);
    }

    /// Failed handshakes, by reason.
    pub fn handshakes_failed_total(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.iter().copied().zip(self.0.handshakes_failed.iter().map(|total| total.load(Relaxed)))
    }

    /// A slot for one more connection of `peer`, unless `max` are open, or `per_address` by that peer. Only the accept
    /// loop calls this, so the check and the increment need not be one atomic step.
    pub(super) fn admit(&self, peer: IpAddr, max: usize, per_address: usize) -> Option<Slot> {
        let address = network(peer);
        let has_place = self.open() < max
            && self.0.with_addresses(|all| {
                let open = all.get(&address).copied().unwrap_or_default();
                let has_place = open < per_address;
                if has_place {
                    all.insert(address, open + 1);
                }
                has_place
            });
        if !has_place {
            self.0.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.0.open.fetch_add(1, Relaxed);
        Some(Slot { counters: self.0.clone(), address })
    }
}

impl Counters {
    fn with_addresses<T>(&self, work: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        work(&mut self.by_address.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The address that a limit applies to. Of IPv6 it is the network, because a single host may use all of its addresses.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    counters: Arc<Counters>,
    address: IpAddr,
}

impl Slot {
    /// Counts this connection as cut by a timeout.
    pub(super) fn timed_out(&self) {
        self.connections().note_timeout();
    }

    pub(super) fn connections(&self) -> Connections {
        Connections(Arc::clone(&self.counters))
    }

    pub(super) fn handshake_failed(&self, why: Failure) {
        let counted = Failure::ALL.iter().zip(&self.counters.handshakes_failed).find(|(reason, _)| **reason == why);
        if let Some((_, total)) = counted {
            total.fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Relaxed);
        self.counters.with_addresses(|all| {
            if let Some(open) = all.get_mut(&self.address) {
                *open -= 1;
                if *open == 0 {
                    all.remove(&self.address);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_gives_itself_back_when_dropped() {
        let (connections, peer) = (Connections::default(), IpAddr::from([192, 0, 2, 1]));
        let slot = connections.admit(peer, 1, 1).unwrap();
        assert!(connections.admit(peer, 1, 1).is_none());
        drop(slot);
        assert!(connections.admit(peer, 1, 1).is_some());
        assert_eq!((connections.open(), connections.refused_total()), (0, 1));
        assert!(connections.0.with_addresses(|all| all.is_empty()), "who has left is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_and_both_forms_of_an_ipv4_address_are_one_address() {
        let connections = Connections::default();
        let admit = |peer: &str| connections.admit(peer.parse().unwrap(), 10, 1);
        let _open = [admit("192.0.2.1").unwrap(), admit("2001:db8::1").unwrap(), admit("192.0.2.2").unwrap()];
        assert!(admit("::ffff:192.0.2.1").is_none() && admit("2001:db8::2").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
    }
}
