//! Limits the number of concurrent uses and shares them by weight; further uses are refused immediately.
//!
//! Invariants: there is no queue. A caller that would have to wait is better served by the next provider, and a queue in
//! front of a slow provider only grows. A slot is released on drop, however its use ended.
//!
//! Nobody gets less than its share while others have more than theirs: a party below its share takes any free slot, a
//! party above it only what is not reserved. Slots that were lent are not taken back; they return when their use ends,
//! and the lender then comes first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::party::{Party, Roster, Share};

/// A fixed number of slots. Clones share them.
#[derive(Debug, Clone)]
pub struct Bulkhead(Arc<Slots>);

#[derive(Debug)]
struct Slots {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    /// How many slots each party holds.
    held: Roster<usize>,
}

/// The right to one use. Dropping it frees the slot.
#[derive(Debug)]
#[must_use = "a dropped slot is a free slot"]
pub struct Slot {
    of: Arc<Slots>,
    seat: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many as allowed are in use")]
pub struct Full(pub Share);

impl Bulkhead {
    /// At most `limit` concurrent uses; zero refuses every one.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Slots { limit, state: Mutex::default() }))
    }

    pub fn try_enter(&self, party: &Party, now: Instant) -> Result<Slot, Full> {
        let limit = self.0.limit;
        let reserve = usize::try_from(party.reserve(limit as u64)).unwrap_or_default();
        let lent = limit.saturating_sub(reserve);
        let mut state = self.0.lock();
        let seat = state.held.enter(party, now, || 0, |held| *held == 0);
        let share = usize::try_from(state.held.share(seat, lent as u128)).unwrap_or(usize::MAX).max(1);
        let in_use = state.in_use;
        let Some(held) = state.held.state(seat) else { return Err(Full(Share::Within)) };
        let (stand, most) = if *held < share { (Share::Within, limit) } else { (Share::Above, lent) };
        if in_use >= most {
            return Err(Full(stand));
        }
        *held += 1;
        state.in_use += 1;
        Ok(Slot { of: Arc::clone(&self.0), seat })
    }

    pub fn in_use(&self) -> usize {
        self.0.lock().in_use
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Only sums, changed together: nothing in between can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.of.lock();
        state.in_use = state.in_use.saturating_sub(1);
        if let Some(held) = state.held.state(self.seat) {
            *held = held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
