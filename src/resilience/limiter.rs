//! Outbound rate limit of one account, shared by weight, plus a pause that the provider can request.
//!
//! Invariants: a refused call consumes nothing. Nothing waits here; a refusal says how long the wait would be. A later
//! pause extends the current one and never shortens it.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::party::{Party, Share};
use super::rate::{NotYet, Rate};
use crate::resilience::backoff::longest_hint;

/// The longest pause that a provider can request, however often it repeats itself.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub struct Limiter(Mutex<State>);

#[derive(Debug)]
struct State {
    rate: Rate,
    pause: Pause,
}

#[derive(Debug, Default)]
struct Pause {
    until: Option<Instant>,
    /// Pauses in a row that were cut short, because a provider asked for more than [`longest_hint`] allowed.
    cut: u32,
}

/// How long until a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbound rate allows no call for {wait:?}")]
pub struct Wait {
    pub wait: Duration,
    /// Set if the rate is the reason, and not a pause.
    pub share: Option<Share>,
}

impl Limiter {
    /// Allows `per_second` calls on average, and up to `burst` at once after an idle period.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self(Mutex::new(State { rate: Rate::new(per_second, burst), pause: Pause::default() }))
    }

    pub fn try_take(&self, party: &Party, now: Instant) -> Result<(), Wait> {
        let mut state = self.lock();
        match state.pause.left(now) {
            Some(left) => Err(Wait { wait: left, share: None }),
            None => state.rate.try_take(party, now).map_err(|NotYet { wait, share }| Wait { wait, share: Some(share) }),
        }
    }

    /// Blocks all calls for `asked` from `now`, and returns how long the pause now lasts. A pause that lasts longer
    /// stays in force.
    ///
    /// The first long hint counts for half a minute only, for twice as long each time it is repeated after that, and
    /// never for more than [`LONGEST_PAUSE`]. Answers to calls in flight that say the same do not count as repetition.
    pub fn pause(&self, now: Instant, asked: Duration) -> Duration {
        let pause = &mut self.lock().pause;
        let repeats = pause.left(now).is_none();
        let allowed = longest_hint(if repeats { pause.cut } else { pause.cut.saturating_sub(1) }).min(LONGEST_PAUSE);
        if asked > allowed && (repeats || pause.cut == 0) {
            pause.cut = pause.cut.saturating_add(1);
        }
        pause.until = pause.until.max(now.checked_add(asked.min(allowed)));
        pause.left(now).unwrap_or_default()
    }

    /// Reports that the provider served a call: outside a pause, the next long hint is a first one again.
    pub fn served(&self, now: Instant) {
        let pause = &mut self.lock().pause;
        if pause.left(now).is_none() {
            *pause = Pause::default();
        }
    }

    /// Ends the pause because an operator says so.
    pub fn restore(&self) {
        self.lock().pause = Pause::default();
    }

    pub fn paused_for(&self, now: Instant) -> Option<Duration> {
        self.lock().pause.left(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pause {
    fn left(&self, now: Instant) -> Option<Duration> {
        self.until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: u32, burst: u32) -> Limiter {
        let number = |n| NonZeroU32::new(n).unwrap();
        Limiter::new(number(per_second), number(burst))
    }

    fn take(limiter: &Limiter, now: Instant) -> Result<(), Duration> {
        limiter.try_take(&Party::alone("one"), now).map_err(|refused| refused.wait)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (limiter, now) = (limiter(10, 3), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!((0..5).filter(|_| take(&limiter, now).is_ok()).count(), 3);
        assert_eq!(take(&limiter, now), Err(Duration::from_millis(100)));
        assert_eq!(take(&limiter, at(40)), Err(Duration::from_millis(60)));
        assert_eq!(take(&limiter, at(100)), Ok(()));
        assert_eq!(take(&limiter, at(90)), Err(Duration::from_millis(100)), "a clock that lags gains nothing");
    }

    #[test]
    fn a_pause_stops_everything_and_takes_nothing_from_the_rate() {
        let limiter = limiter(1, 2);
        let now = Instant::now();
        limiter.pause(now, Duration::from_secs(30));
        let later = now + Duration::from_secs(10);
        assert!((0..100).all(|_| take(&limiter, later) == Err(Duration::from_secs(20))));
        assert_eq!(limiter.paused_for(later), Some(Duration::from_secs(20)));
        let over = now + Duration::from_secs(30);
        assert_eq!(limiter.paused_for(over), None);
        assert_eq!((0..5).filter(|_| take(&limiter, over).is_ok()).count(), 2);
    }

    #[test]
    fn a_later_pause_extends_and_never_shortens() {
        let limiter = limiter(1, 1);
        let now = Instant::now();
        limiter.pause(now, Duration::from_secs(30));
        limiter.pause(now + Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!(limiter.paused_for(now), Some(Duration::from_secs(30)));
        limiter.pause(now + Duration::from_secs(20), Duration::from_secs(30));
        assert_eq!(limiter.paused_for(now), Some(Duration::from_secs(50)));
    }

    #[test]
    fn one_absurd_hint_pauses_for_half_a_minute_and_a_repeated_one_for_longer() {
        let limiter = limiter(1, 1);
        let mut now = Instant::now();
        for seconds in [30, 60, 120, 240, 300, 300] {
            let pause = Duration::from_secs(seconds);
            // What was in flight says the same, which is no repetition.
            assert!((0..20).all(|_| limiter.pause(now, Duration::MAX) == pause), "{seconds}");
            limiter.served(now);
            assert_eq!(limiter.paused_for(now), Some(pause), "a call from before the pause ends nothing");
            now += pause;
        }
        limiter.served(now);
        assert_eq!(limiter.pause(now, Duration::MAX), Duration::from_secs(30));
    }

    #[test]
    fn short_hints_do_not_pave_the_way_for_a_long_one() {
        let limiter = limiter(1, 1);
        let mut now = Instant::now();
        for _ in 0..10 {
            assert_eq!(limiter.pause(now, Duration::from_secs(1)), Duration::from_secs(1));
            now += Duration::from_secs(1);
        }
        assert_eq!(limiter.pause(now, Duration::MAX), Duration::from_secs(30));
    }

    #[test]
    fn the_operator_ends_a_pause() {
        let limiter = limiter(1, 1);
        let now = Instant::now();
        limiter.pause(now, Duration::MAX);
        limiter.restore();
        assert_eq!((limiter.paused_for(now), take(&limiter, now)), (None, Ok(())));
        assert_eq!(limiter.pause(now, Duration::MAX), Duration::from_secs(30));
    }
}
