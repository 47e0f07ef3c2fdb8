//! Outbound rate limit of one account, plus a pause that the provider can request.
//!
//! Invariants: a refused call consumes nothing. Nothing waits here; a refusal says how long the wait would be. A later
//! pause extends the current one and never shortens it.
//!
//! Two clocks are involved. The rate uses governor's own clock, which pausing tokio's clock does not affect, so tests
//! inject one. The pause uses the caller's.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The longest pause accepted from one hint. A longer hint is probably a mistake; if not, the provider repeats it.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

pub struct Limiter<C: Clock = DefaultClock> {
    rate: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    paused_until: Mutex<Option<Instant>>,
}

/// How long until a call may pass, because of the rate or a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbound rate allows no call for {0:?}")]
pub struct Wait(pub Duration);

impl<C: Clock> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("paused_until", &self.paused_until).finish_non_exhaustive()
    }
}

impl Limiter {
    /// Allows `per_second` calls on average, and up to `burst` at once after an idle period.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    /// Like [`Limiter::new`], with a given clock, for tests.
    pub fn with_clock(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let rate = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { rate, clock, paused_until: Mutex::new(None) }
    }

    pub fn try_take(&self, now: Instant) -> Result<(), Wait> {
        match self.paused_for(now) {
            Some(left) => Err(Wait(left)),
            None => self.rate.check().map_err(|until| Wait(until.wait_time_from(self.clock.now()))),
        }
    }

    /// Blocks all calls for `time` from `now`, at most [`LONGEST_PAUSE`]. A pause that lasts longer stays in force.
    pub fn pause(&self, now: Instant, time: Duration) {
        let until = now.checked_add(time.min(LONGEST_PAUSE));
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = (*paused_until).max(until);
    }

    pub fn paused_for(&self, now: Instant) -> Option<Duration> {
        let until = (*self.paused_until.lock().unwrap_or_else(PoisonError::into_inner))?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(per_second: u32, burst: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let number = |n| NonZeroU32::new(n).unwrap();
        (Limiter::with_clock(number(per_second), number(burst), clock.clone()), clock)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (limiter, clock) = limiter(10, 3);
        let now = Instant::now();
        assert_eq!((0..5).filter(|_| limiter.try_take(now).is_ok()).count(), 3);
        assert_eq!(limiter.try_take(now), Err(Wait(Duration::from_millis(100))));
        clock.advance(Duration::from_millis(40));
        assert_eq!(limiter.try_take(now), Err(Wait(Duration::from_millis(60))));
        clock.advance(Duration::from_millis(60));
        assert_eq!(limiter.try_take(now), Ok(()));
    }

    #[test]
    fn a_pause_stops_everything_and_takes_nothing_from_the_rate() {
        let (limiter, _clock) = limiter(1, 2);
        let now = Instant::now();
        limiter.pause(now, Duration::from_secs(30));
        let later = now + Duration::from_secs(10);
        assert!((0..100).all(|_| limiter.try_take(later) == Err(Wait(Duration::from_secs(20)))));
        assert_eq!(limiter.paused_for(later), Some(Duration::from_secs(20)));
        let over = now + Duration::from_secs(30);
        assert_eq!(limiter.paused_for(over), None);
        assert_eq!((0..5).filter(|_| limiter.try_take(over).is_ok()).count(), 2);
    }

    #[test]
    fn a_later_pause_extends_and_never_shortens() {
        let (limiter, _clock) = limiter(1, 1);
        let now = Instant::now();
        limiter.pause(now, Duration::from_secs(30));
        limiter.pause(now + Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!(limiter.paused_for(now), Some(Duration::from_secs(30)));
        limiter.pause(now + Duration::from_secs(20), Duration::from_secs(30));
        assert_eq!(limiter.paused_for(now), Some(Duration::from_secs(50)));
    }

    #[test]
    fn a_wild_hint_pauses_for_an_hour_at_most() {
        let (limiter, _clock) = limiter(1, 1);
        let now = Instant::now();
        limiter.pause(now, Duration::MAX);
        assert_eq!(limiter.paused_for(now), Some(LONGEST_PAUSE));
    }
}
