//! The places of the work in progress, and who shares them.
//!
//! What is remembered needs no place. A call needs one, which its flight keeps until it has ended. Who waits for
//! another's call needs none of those: waiters have places of their own, as requests that are still being read have, so
//! that neither keeps anybody from being served. All are shared by weight.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::time::Instant;

use super::metrics::{CapacityMeter, Metrics, Shared};
use super::policy::Priority;
use crate::resilience::bulkhead::{Bulkhead, Full, Slot};
use crate::resilience::party::Party;

/// The places of one process. They outlive a reload.
#[derive(Debug)]
pub struct Places {
    /// Of requests that are being read.
    reading: Bulkhead,
    /// Of flights.
    calls: Bulkhead,
    /// Of those who wait for a flight that another request has begun.
    waiting: Bulkhead,
    meter: CapacityMeter,
}

/// Kept while the work is in progress.
#[derive(Debug)]
#[must_use = "a dropped place is free"]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] Slot);

/// No place is free for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace;

/// The parties of one configuration: each client, once for each priority.
#[derive(Debug)]
pub(super) struct Parties {
    of_clients: BTreeMap<Arc<str>, [Party; 3]>,
    others: [Party; 3],
}

impl Places {
    /// `most` of each kind.
    pub fn new(most: usize, metrics: &Metrics) -> Self {
        let [reading, calls, waiting] = [(); 3].map(|()| Bulkhead::new(most));
        Self { reading, calls, waiting, meter: metrics.capacity() }
    }

    pub(super) fn to_read(&self, party: &Party) -> Result<Place, NoPlace> {
        self.enter(&self.reading, party, Shared::Reading)
    }

    pub(super) fn to_call(&self, party: &Party) -> Result<Place, NoPlace> {
        self.enter(&self.calls, party, Shared::Calls)
    }

    pub(super) fn to_wait(&self, party: &Party) -> Result<Place, NoPlace> {
        self.enter(&self.waiting, party, Shared::Waiting)
    }

    fn enter(&self, of: &Bulkhead, party: &Party, shared: Shared) -> Result<Place, NoPlace> {
        let place = of.try_enter(party, Instant::now()).map_err(|Full(share)| {
            self.meter.short_of(shared, party, share);
            NoPlace
        });
        place.map(Place)
    }
}

impl Parties {
    /// `priorities` are those of all purposes.
    pub(super) fn new(
        clients: &[Arc<str>],
        weights: &BTreeMap<Arc<str>, NonZeroU32>,
        mut priorities: impl Iterator<Item = Priority>,
    ) -> Self {
        let has_rivals = clients.len() > 1 || priorities.any(|priority| priority != Priority::Normal);
        let party = |client: &Arc<str>, weight: NonZeroU32, priority: Priority| Party {
            owner: Arc::clone(client),
            class: priority as u8,
            weight: weight.saturating_mul(NonZeroU32::new(priority.factor()).unwrap_or(NonZeroU32::MIN)),
            has_rivals,
        };
        let parties = |client: &Arc<str>, weight| {
            [Priority::High, Priority::Normal, Priority::Low].map(|priority| party(client, weight, priority))
        };
        let of = |client: &Arc<str>| {
            let weight = weights.get(client).copied().unwrap_or(NonZeroU32::MIN);
            (Arc::clone(client), parties(client, weight))
        };
        let others = parties(&Arc::from("local"), NonZeroU32::MIN);
        Self { of_clients: clients.iter().map(of).collect(), others }
    }

    /// The party of a client's questions of this priority. Clients that are not configured share one.
    pub(super) fn of(&self, client: &str, priority: Priority) -> &Party {
        let [high, normal, low] = self.of_clients.get(client).unwrap_or(&self.others);
        match priority {
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        }
    }
}
