//! Rates and daily caps of clients, of all replicas together. They are written behind, so that a remembered answer waits
//! for nobody.
//!
//! A replica decides by what Redis said last and by what it has admitted itself since. What was admitted too much
//! meanwhile is a debt, which every replica pays afterwards, so that the mean is exact.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::open::{Open, Shared};
use super::patience::Patience;
use super::script::Command;

/// How often a replica tells what it has admitted.
const TELLS: Duration = Duration::from_millis(100);

/// Each so many times, daily counts are also asked for where nothing was counted.
const ASKS_EACH: u32 = 10;

/// How many clients are told in one round trip.
const BATCH: usize = 256;

/// The clients that have limits here.
pub(super) type Clients = Mutex<HashMap<Arc<str>, Weak<ClientShare>>>;

/// What one client has asked for here, and what is known of the other replicas.
#[derive(Debug)]
pub struct ClientShare {
    open: Arc<Open>,
    name: Arc<str>,
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

impl Shared {
    /// The limits of a client over all replicas; `None` if nothing is shared. A reload finds the same again.
    pub fn client(&self, name: &Arc<str>) -> Option<Arc<ClientShare>> {
        let open = self.0.as_ref()?;
        let mut clients = lock(&open.clients);
        if let Some(known) = clients.get(name).and_then(Weak::upgrade) {
            return Some(known);
        }
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
        let (open, name) = (Arc::clone(open), Arc::clone(name));
        let new = Arc::new(ClientShare { open, name: Arc::clone(&name), state: Mutex::new(state) });
        clients.insert(name, Arc::downgrade(&new));
        Some(new)
    }
}

impl ClientShare {
    /// Counts a request against the rate of `per_second` with `burst` at once. Returns how many more may come at once.
    ///
    /// # Errors
    /// The time to wait, if the rate is used up.
    pub fn admit(&self, per_second: NonZeroU32, burst: NonZeroU32) -> Result<u32, Duration> {
        let (now, parts) = (Instant::now(), if self.open.link.is_up() { 1 } else { self.open.config.most.get() });
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
        if !self.open.link.is_up() {
            let part = left.saturating_sub(own) / self.open.config.most.get();
            state.slice.get_or_insert(own + part);
        }
        let may = own < state.slice.unwrap_or(left);
        state.own = own + u32::from(may);
        // One that was refused asks as well, or it would be refused for longer than needed.
        state.is_news = true;
        may
    }

    /// What is to be told: the step of the rate, what was admitted, and the questions of the day.
    fn take(&self, asks: bool) -> Option<(f64, u32, u32, u32)> {
        let mut state = lock(&self.state);
        let tells = state.is_news || (asks && state.day > 0);
        state.is_news = false;
        let unsent = std::mem::take(&mut state.unsent);
        tells.then(|| (1e6 / f64::from(state.per_second.get()), unsent, state.day, state.own))
    }

    fn heard(&self, debt: Duration, day: u32, elsewhere: u32) {
        let mut state = lock(&self.state);
        state.on_time = Instant::now() + debt + Duration::from_secs(1) * state.unsent / state.per_second.get();
        if state.day == day {
            (state.elsewhere, state.slice) = (elsewhere, None);
        }
    }
}

impl Open {
    /// Tells what clients were admitted here, and hears what they were elsewhere; never ends.
    pub(super) async fn tell_clients(&self) {
        let mut ticks = interval(TELLS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u32.. {
            ticks.tick().await;
            let asks = turn.is_multiple_of(ASKS_EACH);
            let mut told = Vec::new();
            lock(&self.clients).retain(|_, client| {
                let client = client.upgrade();
                // What is not told was within this replica's part.
                told.extend(client.iter().filter_map(|one| Some((Arc::clone(one), one.take(asks)?))));
                client.is_some()
            });
            if self.link.is_up() {
                for batch in told.chunks(BATCH) {
                    self.tell_some(batch).await;
                }
            }
        }
        std::future::pending().await
    }

    async fn tell_some(&self, batch: &[(Arc<ClientShare>, (f64, u32, u32, u32))]) {
        let mut pipe = redis::pipe();
        for (client, (step_us, admitted, day, own)) in batch {
            let mut cmd = Command::Client.on(&self.key("c", client.name.as_bytes()));
            cmd.arg(&self.incarnation).arg(*step_us).arg(*admitted).arg(*day).arg(*own);
            pipe.add_command(cmd);
        }
        let patience = Patience::of(self.config.patience);
        let heard: Result<Vec<(u64, u32)>, _> =
            self.link.send(Command::Client, &patience, async move |mut to| pipe.query_async(&mut to).await).await;
        for ((client, (_, _, day, _)), (debt_us, elsewhere)) in batch.iter().zip(heard.unwrap_or_default()) {
            client.heard(Duration::from_micros(debt_us), *day, elsewhere);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete in itself.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
