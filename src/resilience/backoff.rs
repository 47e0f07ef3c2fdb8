//! Exponential backoff: the delay doubles with each round up to a maximum, with jitter so that replicas do not retry
//! together.

use std::time::Duration;

use fastrand::Rng;

/// How far the first hint of a provider is followed. A wrong hint must not cause a long outage; a right one is repeated.
const FIRST_HINT: Duration = Duration::from_secs(30);

/// How far a hint is followed that was repeated this often: 30 s, and twice as long each time.
pub fn longest_hint(repeated: u32) -> Duration {
    FIRST_HINT.saturating_mul(2_u32.saturating_pow(repeated))
}

pub struct Backoff {
    rounds: u32,
    chance: Rng,
}

impl Backoff {
    /// Equal seeds produce equal delays.
    pub fn new(seed: u64) -> Self {
        Self { rounds: 0, chance: Rng::with_seed(seed) }
    }

    /// The next delay: `first`, doubled for each earlier round, less a random 0 to 20 %. At least `floor`, which is
    /// what the provider asked for, as far as [`longest_hint`] allows in this round, and at most `max`.
    pub fn next(&mut self, first: Duration, max: Duration, floor: Option<Duration>) -> Duration {
        let doubled = first.saturating_mul(2_u32.saturating_pow(self.rounds)).min(max);
        let floor = floor.unwrap_or_default().min(longest_hint(self.rounds));
        self.rounds = self.rounds.saturating_add(1);
        let fifth = u64::try_from(doubled.as_nanos() / 5).unwrap_or(u64::MAX);
        let spread = doubled.saturating_sub(Duration::from_nanos(self.chance.u64(0..=fifth)));
        spread.max(floor).min(max)
    }

    /// A random number from 0 to 1, for other delays that replicas should not share.
    pub fn chance(&mut self) -> f64 {
        self.chance.f64()
    }

    pub fn reset(&mut self) {
        self.rounds = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(5);
    const MAX: Duration = Duration::from_mins(5);

    #[test]
    fn each_time_is_twice_the_last_give_or_take_a_fifth_up_to_the_ceiling() {
        let mut backoff = Backoff::new(7);
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            let time = backoff.next(FIRST, MAX, None).as_secs_f64();
            assert!((0.8 * f64::from(seconds)..=f64::from(seconds)).contains(&time), "{seconds} s: {time}");
        }
        backoff.reset();
        assert!(backoff.next(FIRST, MAX, None) <= FIRST);
    }

    #[test]
    fn replicas_with_different_seeds_come_back_at_different_times() {
        let times: std::collections::HashSet<_> =
            (0..32).map(|seed| Backoff::new(seed).next(FIRST, MAX, None)).collect();
        assert!(times.len() > 30);
    }

    #[test]
    fn a_hint_raises_the_time_and_the_ceiling_lowers_it() {
        let hint = |seconds| Backoff::new(7).next(FIRST, MAX, Some(Duration::from_secs(seconds)));
        assert_eq!(hint(20), Duration::from_secs(20));
        assert!(hint(1) >= FIRST * 4 / 5);
    }

    #[test]
    fn one_absurd_hint_is_followed_for_half_a_minute_and_a_repeated_one_for_longer() {
        let mut backoff = Backoff::new(7);
        for seconds in [30, 60, 120, 240, 300, 300] {
            assert_eq!(backoff.next(FIRST, MAX, Some(Duration::MAX)), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn the_longest_of_durations_and_endless_rounds_overflow_nothing() {
        let mut backoff = Backoff { rounds: u32::MAX, chance: Rng::with_seed(7) };
        assert!(backoff.next(Duration::MAX, Duration::MAX, None) > Duration::ZERO);
        assert_eq!(backoff.next(Duration::ZERO, MAX, None), Duration::ZERO);
    }
}
