//! What somebody has spent today and this month, and how much is left of it.
//!
//! A call *reserves* the most that it can cost before it is made, and is *settled* with what it did cost when it ends. So
//! what was spent and what may yet be spent never pass a limit, in whatever order calls begin and end. Days and months are
//! numbers that only grow; what is reserved when one begins counts in the new one, since it ends there. A clock that goes
//! back begins nothing anew.

use std::ops::{Add, AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls, and an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Calls.
    pub calls: u64,
    /// Their cost, in whatever unit limits have.
    pub amount: u64,
}

/// The most of each in one period; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Calls.
    pub calls: Option<u64>,
    /// Their cost.
    pub amount: Option<u64>,
}

/// The limits of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Of a day.
    pub day: Limit,
    /// Of a month.
    pub month: Limit,
}

/// Which day and which month it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The number of the day; the next one is larger.
    pub day: i32,
    /// The number of the month; the next one is larger.
    pub month: i32,
}

/// A limit is reached: when that period is over there is room again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The day's, and not the month's.
    Day,
    /// The month's.
    Month,
}

/// What one owner spends.
#[derive(Debug)]
pub struct Spending(Mutex<State>);

/// Room for one call. Dropped unsettled, it counts as spent whole: nobody knows what the call has cost.
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
    /// Nothing is spent, and nothing limited.
    pub fn new(at: Moment) -> Self {
        let period = |number| Period { number, spent: Use::default() };
        let (day, month) = (period(at.day), period(at.month));
        Self(Mutex::new(State { limits: Limits::default(), reserved: Use::default(), day, month }))
    }

    /// From now on these limits hold. What is spent stays spent.
    pub fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Adds what was spent before anybody looked.
    pub fn spent_before(&self, day: Use, month: Use) {
        let mut state = self.lock();
        state.day.spent += day;
        state.month.spent += month;
    }

    /// Reserves one call that costs at most `most`.
    ///
    /// # Errors
    /// When that could pass a limit.
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

    /// The limits with what is spent and reserved: of the day, of the month.
    pub fn used(&self, at: Moment) -> [(Limit, Use); 2] {
        let mut state = self.lock();
        state.pass_to(at);
        [(state.limits.day, state.day.spent + state.reserved), (state.limits.month, state.month.spent + state.reserved)]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Sums: a panicking holder leaves at most one call uncounted.
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
    /// The call has ended, and this is what it came to.
    pub fn settle(mut self, at: Moment, spent: Use) {
        self.open = false;
        let mut state = self.of.lock();
        state.pass_to(at);
        state.settle(self.most, spent);
    }

    /// The call is not made.
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

// Amounts do not come near the end of a number; if one did, a limit is what must not give way.
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
