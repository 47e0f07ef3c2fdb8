//! What one client has asked for at this replica, and what is known of the others.
//!
//! A replica decides by what Redis said last and by what it has admitted itself since. What was admitted too much
//! meanwhile is a debt, which every replica pays afterwards, so that the mean is exact.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The clients that have limits here.
pub(super) type Clients = Mutex<HashMap<Arc<str>, Weak<ClientShare>>>;

/// What one client has asked for here, and what is known of the other replicas.
#[derive(Debug)]
pub struct ClientShare {
    pub(super) name: Arc<str>,
    /// Whether Redis answers.
    is_up: Arc<AtomicBool>,
    /// So many replicas run at most.
    most: NonZeroU32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When a request would be exactly on time (GCRA).
    on_time: Instant,
    per_second: NonZeroU32,
    /// Admitted here since the others were told.
    unsent: u32,
    /// Whether there is anything to tell.
    is_news: bool,
    /// The day that is counted, as a number; 0 if there is no cap.
    day: u32,
    own: u32,
    elsewhere: u32,
    /// What may be asked here today while Redis is away.
    slice: Option<u32>,
}

/// What the others are told: the step of the rate, what was admitted, and the questions of the day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) step_us: f64,
    pub(super) admitted: u32,
    pub(super) day: u32,
    pub(super) own: u32,
}

impl ClientShare {
    pub(super) fn new(name: &Arc<str>, is_up: Arc<AtomicBool>, most: NonZeroU32) -> Self {
        let state = State {
            on_time: Instant::now(),
            per_second: NonZeroU32::MIN,
            unsent: 0,
            is_news: false,
            day: 0,
            own: 0,
            elsewhere: 0,
            slice: None,
        };
        Self { name: Arc::clone(name), is_up, most, state: Mutex::new(state) }
    }

    /// Counts a request against the rate of `per_second` with `burst` at once. Returns how many more may come at once.
    ///
    /// # Errors
    /// The time to wait, if the rate is used up.
    pub fn admit(&self, per_second: NonZeroU32, burst: NonZeroU32) -> Result<u32, Duration> {
        let (now, parts) = (Instant::now(), if self.is_up.load(Ordering::Relaxed) { 1 } else { self.most.get() });
        let step = Duration::from_secs(1) * parts / per_second.get();
        let tolerance = step * (burst.get() / parts).saturating_sub(1);
        let mut state = lock(&self.state);
        let on_time = state.on_time.max(now);
        let ahead = on_time.saturating_duration_since(now);
        let left = tolerance.checked_sub(ahead).ok_or_else(|| ahead.saturating_sub(tolerance))?;
        (state.on_time, state.per_second) = (on_time + step, per_second);
        state.unsent = state.unsent.saturating_add(1);
        state.is_news = true;
        Ok(u32::try_from(left.as_nanos() / step.as_nanos().max(1)).unwrap_or(u32::MAX))
    }

    /// Counts a question of `day`, of which this replica has counted `own`, unless `cap` is reached.
    pub fn may_ask(&self, day: u32, own: u32, cap: NonZeroU32) -> bool {
        let mut state = lock(&self.state);
        if state.day != day {
            (state.day, state.elsewhere, state.slice) = (day, 0, None);
        }
        let left = cap.get().saturating_sub(state.elsewhere);
        if !self.is_up.load(Ordering::Relaxed) {
            let part = left.saturating_sub(own) / self.most.get();
            state.slice.get_or_insert(own + part);
        }
        let may = own < state.slice.unwrap_or(left);
        state.own = own + u32::from(may);
        // One that was refused asks as well, or it would be refused for longer than needed.
        state.is_news = true;
        may
    }

    /// What is to be told, if there is anything, or if `asks`.
    pub(super) fn take(&self, asks: bool) -> Option<Told> {
        let mut state = lock(&self.state);
        let tells = state.is_news || (asks && state.day > 0);
        state.is_news = false;
        let admitted = std::mem::take(&mut state.unsent);
        let step_us = 1e6 / f64::from(state.per_second.get());
        tells.then_some(Told { step_us, admitted, day: state.day, own: state.own })
    }

    pub(super) fn heard(&self, debt: Duration, day: u32, elsewhere: u32) {
        let mut state = lock(&self.state);
        state.on_time = Instant::now() + debt + Duration::from_secs(1) * state.unsent / state.per_second.get();
        if state.day == day {
            (state.elsewhere, state.slice) = (elsewhere, None);
        }
    }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete in itself.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
