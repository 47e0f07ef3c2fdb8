//! What an owner has spent today and this month, and how much of its limits is left.
//!
//! A call *reserves* its maximum cost before it is made, and is *settled* with its actual cost when it ends. So
//! spending and reservations together never exceed a limit, in whatever order calls start and end. Days and months are
//! numbers that only grow. A reservation open at the start of a period counts in the new period, because it is settled
//! there. A clock that goes back starts no new period.

use std::ops::{Add, AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    pub calls: u64,
    /// Cost, in the same unit as the limits.
    pub amount: u64,
}

/// The maximum of each per period; `None` means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    pub calls: Option<u64>,
    pub amount: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub day: Limit,
    pub month: Limit,
}

/// The current day and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Number of the day; the next day has a larger one.
    pub day: i32,
    /// Number of the month; the next month has a larger one.
    pub month: i32,
}

/// The limit that was reached. There is room again when its period ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Only the day's limit.
    Day,
    /// The month's limit, and perhaps the day's too.
    Month,
}

/// What one owner spends.
#[derive(Debug)]
pub struct Spending(Mutex<State>);

/// A reservation for one call. Dropped unsettled, it counts as spent in full, because the actual cost is unknown.
#[derive(Debug)]
#[must_use = "a reservation is settled or released"]
pub struct Reserved {
    of: Arc<Spending>,
    most: u64,
    open: bool,
}

#[derive(Debug)]
struct State {
    limits: Limits,
    reserved: Use,
    day: Period,
    month: Period,
}

#[derive(Debug)]
struct Period {
    number: i32,
    spent: Use,
}

impl Limit {
    fn has_room_for(self, all: Use) -> bool {
        self.calls.is_none_or(|most| all.calls <= most) && self.amount.is_none_or(|most| all.amount <= most)
    }
}

impl Spending {
    /// Nothing spent, no limits.
    pub fn new(at: Moment) -> Self {
        let period = |number| Period { number, spent: Use::default() };
        let (day, month) = (period(at.day), period(at.month));
        Self(Mutex::new(State { limits: Limits::default(), reserved: Use::default(), day, month }))
    }

    /// Sets new limits, effective immediately. Earlier spending still counts.
    pub fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Adds spending that happened before this process started.
    pub fn spent_before(&self, day: Use, month: Use) {
        let mut state = self.lock();
        state.day.spent += day;
        state.month.spent += month;
    }

    /// Reserves one call that costs at most `most`.
    ///
    /// # Errors
    /// When this could exceed a limit.
    pub fn try_reserve(self: &Arc<Self>, at: Moment, most: u64) -> Result<Reserved, Full> {
        let mut state = self.lock();
        state.pass_to(at);
        let one = Use { calls: 1, amount: most };
        let with = |period: &Period| period.spent + state.reserved + one;
        if !state.limits.month.has_room_for(with(&state.month)) {
            return Err(Full::Month);
        }
        if !state.limits.day.has_room_for(with(&state.day)) {
            return Err(Full::Day);
        }
        state.reserved += one;
        Ok(Reserved { of: Arc::clone(self), most, open: true })
    }

    /// Per period (day, then month): the limit, and the sum of spent and reserved.
    pub fn used(&self, at: Moment) -> [(Limit, Use); 2] {
        let mut state = self.lock();
        state.pass_to(at);
        [(state.limits.day, state.day.spent + state.reserved), (state.limits.month, state.month.spent + state.reserved)]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only sums: a panic while the lock is held leaves at most one call uncounted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pass_to(&mut self, at: Moment) {
        for (period, number) in [(&mut self.day, at.day), (&mut self.month, at.month)] {
            if number > period.number {
                *period = Period { number, spent: Use::default() };
            }
        }
    }

    fn settle(&mut self, most: u64, spent: Use) {
        self.reserved -= Use { calls: 1, amount: most };
        self.day.spent += spent;
        self.month.spent += spent;
    }
}

impl Reserved {
    /// Replaces the reservation with the actual cost of the call.
    pub fn settle(mut self, at: Moment, spent: Use) {
        self.open = false;
        let mut state = self.of.lock();
        state.pass_to(at);
        state.settle(self.most, spent);
    }

    /// Cancels the reservation: the call is not made.
    pub fn release(mut self) {
        self.open = false;
        self.of.lock().settle(self.most, Use::default());
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.open {
            self.of.lock().settle(self.most, Use { calls: 1, amount: self.most });
        }
    }
}

// Amounts never come near the maximum. Saturating keeps the limits in force even if one did.
impl Add for Use {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_add(other.calls), amount: self.amount.saturating_add(other.amount) }
    }
}

impl AddAssign for Use {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Use {
    fn sub_assign(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.amount = self.amount.saturating_sub(other.amount);
    }
}

#[cfg(test)]
mod tests;
