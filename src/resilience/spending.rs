//! What an owner has spent today and this month, and how much of its limits is left.
//!
//! A call *reserves* its maximum cost before it is made, and is *settled* with its actual cost when it ends. So
//! spending and reservations together never exceed a limit, in whatever order calls start and end. A reservation open
//! at the start of a period counts in the new period, because it is settled there.
//!
//! What was spent is kept by the hour of monotonic time, and dated by the calendar of the moment at which it is summed.
//! So another date brings no new budget for what was spent in the last hours, and the return to the right one restores
//! its sums, with what was spent meanwhile.

use std::collections::VecDeque;
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

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The calendar was changed, not corrected, in seconds.
const STEP: u64 = 60;
/// Longer than any month.
const KEPT: i64 = 32 * DAY;

/// A point in monotonic time, and the calendar that dates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    monotonic: i64,
    /// Civil time minus monotonic time.
    ahead: i64,
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
    /// The last moment seen.
    at: Moment,
    day: Period,
    month: Period,
    /// What was spent, oldest first.
    parts: VecDeque<Part>,
    /// What other processes have used of the same limits: day and month, by the number of the period.
    others: [(i64, Use); 2],
    /// The part of that which a common record shows: older, but it also has those that are gone.
    recorded: [(i64, Use); 2],
    /// Set while the others cannot be asked.
    slice: Option<Slice>,
}

/// A part of what was left when the others were last heard of.
#[derive(Debug, Clone, Copy)]
struct Slice {
    parts: u64,
    /// What this process had used when it began.
    began: [(i64, Use); 2],
}

/// The current day or month, and what was spent in it.
#[derive(Debug)]
struct Period {
    number: i64,
    spent: Use,
}

/// What was spent within one hour.
#[derive(Debug)]
struct Part {
    /// When, in monotonic seconds.
    at: i64,
    spent: Use,
}

impl Moment {
    /// Both in seconds; `civil` since 1970.
    pub const fn new(monotonic: i64, civil: i64) -> Self {
        Self { monotonic, ahead: civil.saturating_sub(monotonic) }
    }

    /// The number of the day.
    const fn day(self, monotonic: i64) -> i64 {
        self.civil(monotonic).div_euclid(DAY)
    }

    /// The number of the month.
    fn month(self, monotonic: i64) -> i64 {
        let date = jiff::Timestamp::from_second(self.civil(monotonic)).unwrap_or_default();
        let date = jiff::tz::Offset::UTC.to_datetime(date).date();
        i64::from(date.year()) * 12 + i64::from(date.month())
    }

    const fn civil(self, monotonic: i64) -> i64 {
        monotonic.saturating_add(self.ahead)
    }
}

impl Use {
    /// The greater of each.
    fn max(self, other: Self) -> Self {
        Self { calls: self.calls.max(other.calls), amount: self.amount.max(other.amount) }
    }

    /// What is left of it without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_sub(other.calls), amount: self.amount.saturating_sub(other.amount) }
    }
}

impl Limit {
    fn has_room_for(self, all: Use) -> bool {
        self.calls.is_none_or(|most| all.calls <= most) && self.amount.is_none_or(|most| all.amount <= most)
    }

    /// A part of what `used` leaves of it.
    fn part(self, used: Use, parts: u64) -> Self {
        let part = |most: Option<u64>, used: u64| Some(most?.saturating_sub(used) / parts.max(1));
        Self { calls: part(self.calls, used.calls), amount: part(self.amount, used.amount) }
    }
}

impl Spending {
    /// Nothing spent, no limits.
    pub fn new(at: Moment) -> Self {
        let period = |number| Period { number, spent: Use::default() };
        let (day, month) = (period(at.day(at.monotonic)), period(at.month(at.monotonic)));
        let (limits, reserved) = (Limits::default(), Use::default());
        Self(Mutex::new(State {
            limits,
            reserved,
            at,
            day,
            month,
            parts: VecDeque::new(),
            others: Default::default(),
            recorded: Default::default(),
            slice: None,
        }))
    }

    /// Sets new limits, effective immediately. Earlier spending still counts.
    pub fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Adds spending of today, and of this month including today, that happened before this process started.
    pub fn spent_before(&self, at: Moment, day: Use, month: Use) {
        let mut state = self.lock();
        state.pass_to(at);
        let mut earlier = month;
        earlier -= day;
        state.parts.push_front(Part { at: at.monotonic, spent: day });
        if earlier != Use::default() {
            state.parts.push_front(Part { at: at.monotonic - DAY, spent: earlier });
        }
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
        let [day, month] = state.have_room_for(one);
        if !month {
            return Err(Full::Month);
        }
        if !day {
            return Err(Full::Day);
        }
        state.reserved += one;
        Ok(Reserved { of: Arc::clone(self), most, open: true })
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.lock().limits != Limits::default()
    }

    /// What is spent and reserved here, of the day and the month with these numbers.
    pub fn totals(&self, at: Moment) -> [(i64, Use); 2] {
        let mut state = self.lock();
        state.pass_to(at);
        state.own()
    }

    /// Sets what other processes have used of the same limits.
    pub fn heard(&self, others: [(i64, Use); 2]) {
        let mut state = self.lock();
        state.others = others;
        state.slice = None;
    }

    /// Sets what other processes have spent of the same limits, as it is recorded. More may have been heard of.
    pub fn recorded(&self, at: Moment, day: Use, month: Use) {
        let mut state = self.lock();
        state.pass_to(at);
        state.recorded = [(state.day.number, day), (state.month.number, month)];
    }

    /// What was spent here of the day and the month, without what is reserved.
    pub fn spent(&self, at: Moment) -> [Use; 2] {
        let mut state = self.lock();
        state.pass_to(at);
        [state.day.spent, state.month.spent]
    }

    /// The others cannot be asked: from now on only one of so many parts of what was left may be used here.
    pub fn divide(&self, at: Moment, parts: u32) {
        let mut state = self.lock();
        state.pass_to(at);
        let began = state.own();
        state.slice.get_or_insert(Slice { parts: parts.into(), began });
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
    fn own(&self) -> [(i64, Use); 2] {
        [&self.day, &self.month].map(|period| (period.number, period.spent + self.reserved))
    }

    /// Whether the limits of the day and of the month allow one more.
    fn have_room_for(&self, one: Use) -> [bool; 2] {
        let limits = [self.limits.day, self.limits.month];
        let mut rooms = [true; 2];
        for (index, ((room, limit), (number, own))) in rooms.iter_mut().zip(limits).zip(self.own()).enumerate() {
            let of = |all: &[(i64, Use); 2]| {
                all.get(index).filter(|(of, _)| *of == number).map(|(_, used)| *used).unwrap_or_default()
            };
            let others = of(&self.others).max(of(&self.recorded));
            *room = limit.has_room_for(own + others + one);
            if let Some(Slice { parts, began }) = &self.slice {
                let began = of(began);
                let mut since = own + one;
                since -= began;
                *room &= limit.part(began + others, *parts).has_room_for(since);
            }
        }
        rooms
    }

    fn pass_to(&mut self, at: Moment) {
        // Callers may come a little out of order; a small correction of the clock changes nothing by itself.
        let monotonic = at.monotonic.max(self.at.monotonic);
        let has_stepped = at.ahead.abs_diff(self.at.ahead) >= STEP;
        self.at = Moment { monotonic, ..at };
        let day = at.day(monotonic);
        if day == self.day.number && !has_stepped {
            return;
        }
        let month = at.month(monotonic);
        let sum = |is_in: &dyn Fn(&Part) -> bool| {
            self.parts.iter().filter(|part| is_in(part)).fold(Use::default(), |sum, part| sum + part.spent)
        };
        self.day = Period { number: day, spent: sum(&|part| at.day(part.at) == day) };
        self.month = Period { number: month, spent: sum(&|part| at.month(part.at) == month) };
    }

    fn settle(&mut self, most: u64, spent: Use) {
        self.reserved -= Use { calls: 1, amount: most };
        if spent == Use::default() {
            return;
        }
        self.day.spent += spent;
        self.month.spent += spent;
        let Moment { monotonic, .. } = self.at;
        let hour = |at: i64| self.at.civil(at).div_euclid(HOUR);
        match self.parts.back_mut().filter(|part| hour(part.at) == hour(monotonic)) {
            Some(part) => part.spent += spent,
            None => {
                self.parts.push_back(Part { at: monotonic, spent });
                while self.parts.front().is_some_and(|part| part.at < monotonic - KEPT) {
                    self.parts.pop_front();
                }
            }
        }
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
