//! Who shares a limited resource, and how the shares follow from weights.
//!
//! A party's share is its weight divided by the weights of all active parties. A party is active from its first use of
//! the resource until it has left it alone for [`ACTIVE_FOR`], so that idle shares are lent to the others. A tenth of
//! the resource is lent to nobody: a party that has been idle finds it at once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LinkedHashMap;
use tokio::time::Instant;

/// How long a party keeps its share after its last use.
pub const ACTIVE_FOR: Duration = Duration::from_mins(1);

/// One in this many is lent to nobody.
const RESERVED: u64 = 10;

/// The most parties of one owner.
const CLASSES: usize = 4;

/// One of those who share a resource. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    pub owner: Arc<str>,
    /// Tells parties of one owner apart: below 4.
    pub class: u8,
    pub weight: NonZeroU32,
    /// Whether there are others. A party that is alone needs no reserve.
    pub has_rivals: bool,
}

/// Whether a refused party had less than its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Share {
    /// It had less: the resource is too small, or others have not yet given back what they were lent.
    Within,
    /// It had its share already.
    Above,
}

/// The parties that have used one resource, with a state for each.
#[derive(Debug)]
pub(super) struct Roster<T> {
    /// The seats of each owner, by class.
    seats: HashMap<Arc<str>, [Option<usize>; CLASSES]>,
    states: Vec<Seat<T>>,
    /// When each active party last used the resource, oldest first.
    active: LinkedHashMap<usize, Instant>,
    /// The sum of the weights of the active parties.
    weights: u64,
}

#[derive(Debug)]
struct Seat<T> {
    weight: u64,
    state: T,
}

impl Party {
    /// A party that shares with nobody.
    pub fn alone(name: &str) -> Self {
        Self { owner: Arc::from(name), class: 0, weight: NonZeroU32::MIN, has_rivals: false }
    }

    /// The part of `all` that is lent to nobody. One alone cannot be divided.
    pub(super) fn reserve(&self, all: u64) -> u64 {
        if self.has_rivals && all > 1 { all.div_ceil(RESERVED) } else { 0 }
    }
}

impl Share {
    pub const ALL: &'static [Share] = <Self as strum::VariantArray>::VARIANTS;

    /// The label used in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Self { seats: HashMap::new(), states: Vec::new(), active: LinkedHashMap::new(), weights: 0 }
    }
}

impl<T> Roster<T> {
    /// Notes that `party` uses the resource now, and returns its seat. `is_idle` says whether a party that has not used
    /// it for long may lose its share. Looks at two others at most.
    pub(super) fn enter(
        &mut self,
        party: &Party,
        now: Instant,
        new: impl FnOnce() -> T,
        is_idle: impl Fn(&T) -> bool,
    ) -> usize {
        let class = usize::from(party.class).min(CLASSES - 1);
        let known = self.seats.get(&party.owner).and_then(|seats| *seats.get(class)?);
        let seat = known.unwrap_or_else(|| self.add(party, class, new()));
        let was_active = self.active.to_back(&seat).map(|used| *used = now).is_some();
        if let Some(seat) = self.states.get_mut(seat) {
            if was_active {
                self.weights -= seat.weight;
            }
            // A reload may have changed it.
            seat.weight = u64::from(party.weight.get());
            self.weights += seat.weight;
        }
        if !was_active {
            self.active.insert(seat, now);
        }
        for _ in 0..2 {
            self.retire(now, &is_idle);
        }
        seat
    }

    fn add(&mut self, party: &Party, class: usize, state: T) -> usize {
        let seat = self.states.len();
        self.states.push(Seat { weight: 0, state });
        let seats = self.seats.entry(Arc::clone(&party.owner)).or_default();
        if let Some(one) = seats.get_mut(class) {
            *one = Some(seat);
        }
        seat
    }

    /// Ends the activity of the party that has not used the resource for longest, if that is long enough ago.
    fn retire(&mut self, now: Instant, is_idle: &impl Fn(&T) -> bool) {
        let Some((&first, &used)) = self.active.front() else { return };
        if now.saturating_duration_since(used) < ACTIVE_FOR {
            return;
        }
        match self.states.get(first).filter(|seat| is_idle(&seat.state)).map(|seat| seat.weight) {
            Some(weight) => {
                self.active.pop_front();
                self.weights -= weight;
            }
            None => drop(self.active.to_back(&first)),
        }
    }

    /// The share of the party in `seat` of `all`, rounded down.
    pub(super) fn share(&self, seat: usize, all: u128) -> u128 {
        let weight = self.states.get(seat).map_or(0, |seat| seat.weight);
        all * u128::from(weight) / u128::from(self.weights.max(1))
    }

    pub(super) fn state(&mut self, seat: usize) -> Option<&mut T> {
        self.states.get_mut(seat).map(|seat| &mut seat.state)
    }
}
