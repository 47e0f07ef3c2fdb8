//! How fast one account of ours may call out, and a pause that the other side can ask for.
//!
//! Invariants: a refusal takes nothing; nobody waits here, a refusal says how long the wait would be; a
//! later pause extends the running one and never shortens it.
//!
//! Two clocks meet: the rate runs on governor's own (which a paused tokio clock does not move, so tests
//! inject one), the pause on the caller's.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The longest pause taken from one hint: a longer one is a mistake, and if it is not, the other side says it again.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// The outbound rate of one account.
pub struct Limiter<C: Clock = DefaultClock> {
    rate: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    paused_until: Mutex<Option<Instant>>,
}

/// Too fast, or paused: how long until a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbound rate allows no call for {0:?}")]
pub struct Wait(pub Duration);

impl<C: Clock> fmt::Debug for Limiter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("paused_until", &self.paused_until).finish_non_exhaustive()
    }
}

impl Limiter {
    /// Evenly `per_second` calls, of which `burst` may come at once after a quiet time.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limiter<C> {
    /// The same on a given clock, for tests.
    pub fn with_clock(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let rate = RateLimiter::direct_with_clock(quota, clock.clone());
        Self { rate, clock, paused_until: Mutex::new(None) }
    }

    /// Takes one call, or says how long to wait.
    pub fn try_take(&self, now: Instant) -> Result<(), Wait> {
        match self.paused_for(now) {
            Some(left) => Err(Wait(left)),
            None => self.rate.check().map_err(|until| Wait(until.wait_time_from(self.clock.now()))),
        }
    }

    /// Lets nothing pass for `time` from `now`, at most [`LONGEST_PAUSE`]; a longer running pause stays.
    pub fn pause(&self, now: Instant, time: Duration) {
        let until = now.checked_add(time.min(LONGEST_PAUSE));
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused_until = (*paused_until).max(until);
    }

    /// The remaining pause, if there is one.
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
