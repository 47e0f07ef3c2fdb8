//! Time and randomness as parameters, so that tests control them and signatures are reproducible.
//!
//! Only `app` creates these from the real sources; `.clippy.toml` forbids the shortcuts elsewhere.
//!
//! Three questions, three clocks. How long: [`Clock::monotonic`], or `tokio::time::Instant`; steps do not touch it.
//! Which date, for sums, limits and records: [`Clock::now`], which goes on through a step until the new time is believed
//! (`belief`). What the peer's clock will say, for signatures and certificates: [`Clock::wall`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date, tz::Offset};
use uuid::Uuid;

use self::belief::{Belief, is_near};

mod belief;

/// Two clocks that are read within this time, in microseconds, were read together.
const SHARP: i64 = 500_000;

/// China has one civil time, eight hours ahead of UTC, without daylight saving.
const CHINA: Offset = Offset::constant(8);

#[derive(Clone)]
pub struct Clock(Arc<Sources>);

struct Sources {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time since any fixed point. Without it, the wall clock never steps.
    monotonic: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
    /// Where `monotonic` stood when this was made; without it, the wall clock. In microseconds.
    origin: i64,
    belief: Mutex<Belief>,
    /// Copies of what `belief` says, so that nothing waits while there is no step.
    ahead: AtomicI64,
    is_doubtful: AtomicBool,
    turns: AtomicU32,
}

/// A point in monotonic time: milliseconds since the clock was made; negative before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(pub i64);

/// One moment by both clocks: the date to show, and the point to measure from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    pub monotonic: Monotonic,
}

/// What happened to the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub forward: u64,
    pub back: u64,
    /// The wall clock minus the time that is believed; zero unless there is a step that is not believed yet.
    pub offset: SignedDuration,
}

impl Clock {
    /// A clock that calls `now` each time. Its monotonic time is the same, so that it never steps.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let origin = now().as_microsecond();
        Self::of(Box::new(now), None, origin)
    }

    /// A clock that watches `wall` against `monotonic`, the time since any fixed point.
    pub fn watched(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let origin = micros(monotonic());
        Self::of(Box::new(wall), Some(Box::new(monotonic)), origin)
    }

    /// A clock that never advances, for tests.
    pub fn fixed(at: Timestamp) -> Self {
        Self::new(move || at)
    }

    fn of(
        wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
        monotonic: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
        origin: i64,
    ) -> Self {
        let ahead = wall().as_microsecond();
        let (is_doubtful, turns) = (AtomicBool::new(false), AtomicU32::new(0));
        let (belief, ahead) = (Mutex::new(Belief::new(ahead)), AtomicI64::new(ahead));
        Self(Arc::new(Sources { wall, monotonic, origin, belief, ahead, is_doubtful, turns }))
    }

    /// The wall clock as it stands, steps and all. For what another machine compares with its own clock.
    pub fn wall(&self) -> Timestamp {
        (self.0.wall)()
    }

    /// The date and time that are believed: those of the wall clock, but for some time after a step.
    pub fn now(&self) -> Timestamp {
        self.moment().at
    }

    /// For lifetimes.
    pub fn monotonic(&self) -> Monotonic {
        let now = match &self.0.monotonic {
            Some(monotonic) => micros(monotonic()),
            None => self.wall().as_microsecond(),
        };
        Monotonic(now.saturating_sub(self.0.origin).div_euclid(1000))
    }

    pub fn moment(&self) -> Moment {
        let Some(monotonic) = &self.0.monotonic else {
            let wall = self.wall();
            let mono = wall.as_microsecond().saturating_sub(self.0.origin);
            return Moment { at: wall, monotonic: Monotonic(mono.div_euclid(1000)) };
        };
        let (mono, wall) = (micros(monotonic()).saturating_sub(self.0.origin), self.wall());
        let ahead = wall.as_microsecond().saturating_sub(mono);
        let is_followed = is_near(ahead, self.0.ahead.load(Ordering::Relaxed));
        let at = if is_followed && !self.0.is_doubtful.load(Ordering::Relaxed) {
            wall
        } else {
            let believed = self.observe(monotonic.as_ref(), mono, ahead);
            Timestamp::from_microsecond(mono.saturating_add(believed)).unwrap_or(wall)
        };
        Moment { at, monotonic: Monotonic(mono.div_euclid(1000)) }
    }

    /// The moment of a time that was recorded earlier: the earliest one, where a step makes that ambiguous.
    pub fn moment_of(&self, at: Timestamp) -> Moment {
        let micros = at.as_microsecond();
        let mono = match &self.0.monotonic {
            Some(_) => self.belief().when(micros),
            None => micros.saturating_sub(self.0.origin),
        };
        Moment { at, monotonic: Monotonic(mono.div_euclid(1000)) }
    }

    /// The earliest time with which anything within the last `ago` may have been recorded.
    pub fn earliest_within(&self, ago: Duration) -> Timestamp {
        let now = self.moment();
        let ago = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        let earliest = now.at.as_microsecond().saturating_sub(ago);
        let earliest = match self.turns() {
            0 => earliest,
            _ => {
                let since = now.monotonic.0.saturating_mul(1000).saturating_sub(ago);
                earliest.min(since.saturating_add(self.belief().lowest_since(since)))
            }
        };
        Timestamp::from_microsecond(earliest).unwrap_or(Timestamp::MIN)
    }

    /// How often another time was believed than before.
    pub fn turns(&self) -> u32 {
        self.0.turns.load(Ordering::Relaxed)
    }

    /// Looks at both clocks. Must be called every few minutes, or corrections that add up look like a step.
    pub fn steps(&self) -> Steps {
        let Some(monotonic) = &self.0.monotonic else {
            return Steps { forward: 0, back: 0, offset: SignedDuration::ZERO };
        };
        let mono = micros(monotonic()).saturating_sub(self.0.origin);
        let ahead = self.wall().as_microsecond().saturating_sub(mono);
        self.observe(monotonic.as_ref(), mono, ahead);
        let belief = self.belief();
        let offset = if belief.is_doubtful() { ahead.saturating_sub(belief.ahead) } else { 0 };
        Steps { forward: belief.forward, back: belief.back, offset: SignedDuration::from_micros(offset) }
    }

    /// Takes note of a pair of readings, and returns what is believed.
    fn observe(&self, monotonic: &(dyn Fn() -> Duration + Send + Sync), mono: i64, ahead: i64) -> i64 {
        let mut belief = self.belief();
        // A thread that was stopped between the two readings has seen no step.
        let took = micros(monotonic()).saturating_sub(self.0.origin).saturating_sub(mono);
        if took < SHARP {
            belief.observe(mono, ahead);
            self.0.ahead.store(belief.ahead, Ordering::Relaxed);
            self.0.is_doubtful.store(belief.is_doubtful(), Ordering::Relaxed);
            self.0.turns.store(belief.turns, Ordering::Relaxed);
        }
        belief.ahead
    }

    fn belief(&self) -> MutexGuard<'_, Belief> {
        // Only numbers, changed in one step.
        self.0.belief.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Today's date in China (UTC+8) by the wall clock, used to judge ages and birth dates.
    pub fn today_in_china(&self) -> Date {
        date_in_china(self.wall())
    }

    /// The date in China by which sums and limits are kept. After a step it goes on as before, until the new date is
    /// believed.
    pub fn believed_date_in_china(&self) -> Date {
        date_in_china(self.now())
    }

    /// Time until the next day begins in China, for what is limited by the day.
    pub fn until_tomorrow_in_china(&self) -> Duration {
        let now = self.now();
        let begins = date_in_china(now).tomorrow().ok().and_then(start_in_china);
        // The last representable day has no tomorrow.
        begins.and_then(|begins| Duration::try_from(begins.duration_since(now)).ok()).unwrap_or_default()
    }

    /// Time until the next month begins in China, for what is limited by the month.
    pub fn until_next_month_in_china(&self) -> Duration {
        let now = self.now();
        let next = date_in_china(now).last_of_month().tomorrow().ok();
        let begins = next.and_then(start_in_china);
        begins.and_then(|begins| Duration::try_from(begins.duration_since(now)).ok()).unwrap_or_default()
    }
}

impl Monotonic {
    /// The time from `earlier` to this; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }
}

impl Moment {
    /// Seconds of China's civil time, and of monotonic time.
    pub fn seconds(self) -> (i64, i64) {
        (self.at.as_second() + i64::from(CHINA.seconds()), self.monotonic.0.div_euclid(1000))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// When `date` begins in China, if representable.
pub fn start_in_china(date: Date) -> Option<Timestamp> {
    CHINA.to_timestamp(date.at(0, 0, 0, 0)).ok()
}

pub fn date_in_china(at: Timestamp) -> Date {
    CHINA.to_datetime(at).date()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Generates identifiers: nonces (random, version 4) and verification ids (time-ordered, version 7).
#[derive(Clone)]
pub struct Ids {
    nonce: Arc<dyn Fn() -> Uuid + Send + Sync>,
    ordered: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl Ids {
    /// `nonce` must be unpredictable, `ordered` sortable by time.
    pub fn new(
        nonce: impl Fn() -> Uuid + Send + Sync + 'static,
        ordered: impl Fn() -> Uuid + Send + Sync + 'static,
    ) -> Self {
        Self { nonce: Arc::new(nonce), ordered: Arc::new(ordered) }
    }

    /// A fresh nonce; never repeats.
    pub fn nonce(&self) -> Uuid {
        (self.nonce)()
    }

    /// A fresh identifier that sorts by creation time.
    pub fn ordered(&self) -> Uuid {
        (self.ordered)()
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_china_begins_at_sixteen_hours_utc() -> Result<(), jiff::Error> {
        let before = Clock::fixed("2026-11-21T15:59:59Z".parse()?);
        let after = Clock::fixed("2026-11-21T16:00:00Z".parse()?);
        assert_eq!(before.today_in_china(), jiff::civil::date(2026, 11, 21));
        assert_eq!(after.today_in_china(), jiff::civil::date(2026, 11, 22));
        assert_eq!(before.until_tomorrow_in_china(), Duration::from_secs(1));
        assert_eq!(after.until_tomorrow_in_china(), Duration::from_secs(24 * 60 * 60));
        assert_eq!(after.until_next_month_in_china(), Duration::from_secs(9 * 24 * 60 * 60));
        let last = Clock::fixed("2026-11-30T15:59:00Z".parse()?);
        assert_eq!(last.until_next_month_in_china(), Duration::from_secs(60));
        Ok(())
    }
}
