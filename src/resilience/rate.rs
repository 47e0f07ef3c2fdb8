//! A token bucket whose rate is shared by weight.
//!
//! Besides the bucket of all, each party has one of its own, which fills at its share of the rate. A call takes a token
//! from both. A party whose own bucket is empty may still take a token of the others, but only one that they cannot
//! need: their buckets, taken as full, and the reserve stay covered. So whoever stays within its share of the rate is
//! served, whatever the others ask for, and what nobody uses is lent.
//!
//! Invariant: never more than the burst at once and the rate on average, over all parties. A refused call takes
//! nothing. Everything is counted in billionths of a token, so nothing is rounded in anybody's favour.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::party::{Party, Roster, Share};

/// One token. A rate of one per second fills one unit a nanosecond.
const TOKEN: u128 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Rate {
    per_second: u128,
    burst: u128,
    all: Bucket,
    own: Roster<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: u128,
    at: Option<Instant>,
}

/// When a refused call could pass, and whether its party was within its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotYet {
    pub(super) wait: Duration,
    pub(super) share: Share,
}

impl Rate {
    /// `per_second` calls on average, and up to `burst` at once after an idle period.
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let burst = u128::from(burst.get()) * TOKEN;
        let all = Bucket { level: burst, at: None };
        Self { per_second: per_second.get().into(), burst, all, own: Roster::default() }
    }

    pub(super) fn try_take(&mut self, party: &Party, now: Instant) -> Result<(), NotYet> {
        let Self { per_second, burst, .. } = *self;
        self.all.fill(now, per_second, burst);
        let tokens = u64::try_from(burst / TOKEN).unwrap_or(u64::MAX);
        let lent = burst - u128::from(party.reserve(tokens)) * TOKEN;
        let seat = self.own.enter(party, now, || Bucket { level: burst, at: None }, |_| true);
        let share = self.own.share(seat, lent);
        let (most, speed) = (share.max(TOKEN), self.own.share(seat, per_second * TOKEN));
        let Some(own) = self.own.state(seat) else { return Ok(()) };
        own.fill_slowly(now, speed, most);
        // What the others may need. At least the last token but one can be lent, or a small burst would be lent to nobody.
        let others = (burst - share + own.level).min(burst - TOKEN);
        let is_within = own.level >= TOKEN;
        if self.all.level >= TOKEN && (is_within || self.all.level >= others + TOKEN) {
            self.all.level -= TOKEN;
            own.level = own.level.saturating_sub(if is_within { TOKEN } else { 0 });
            return Ok(());
        }
        // Units wanted, at so many a second.
        let until = |wanted: u128, speed: u128| nanos((wanted * TOKEN).div_ceil(speed.max(1)));
        let (of_all, rate) = (self.all.level, per_second * TOKEN);
        let of_own = until(TOKEN.saturating_sub(own.level), speed).max(until(TOKEN.saturating_sub(of_all), rate));
        // While the others' part fills, so does the party's own, which is not to be lent twice.
        let of_others = until((others + TOKEN).saturating_sub(of_all), rate.saturating_sub(speed));
        let of_others = of_others.min(until(burst.saturating_sub(of_all), rate));
        let share = if is_within { Share::Within } else { Share::Above };
        Err(NotYet { wait: of_own.min(of_others), share })
    }
}

impl Bucket {
    /// Fills at `speed` units a nanosecond, up to `most`.
    fn fill(&mut self, now: Instant, speed: u128, most: u128) {
        self.fill_slowly(now, speed * TOKEN, most);
    }

    /// Fills at `speed` units a second.
    fn fill_slowly(&mut self, now: Instant, speed: u128, most: u128) {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.level = self.level.saturating_add(since.as_nanos().saturating_mul(speed) / TOKEN).min(most);
        self.at = self.at.max(Some(now));
    }
}

fn nanos(number: u128) -> Duration {
    Duration::from_nanos(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn party(name: &str, weight: u32) -> Party {
        Party { owner: Arc::from(name), class: 0, weight: NonZeroU32::new(weight).unwrap(), has_rivals: true }
    }

    fn rate(per_second: u32) -> Rate {
        let number = NonZeroU32::new(per_second).unwrap();
        Rate::new(number, number)
    }

    /// How many of the calls of each party pass, if each asks so many times a second, evenly, for so many seconds.
    fn served(rate: &mut Rate, start: Instant, asks: &[(Party, u32)], seconds: u32) -> Vec<u32> {
        let mut calls: Vec<_> = asks
            .iter()
            .enumerate()
            .flat_map(|(n, (_, each))| {
                (0..each * seconds).map(move |call| (start + call * Duration::from_secs(1) / *each, n))
            })
            .collect();
        calls.sort_unstable();
        let mut passed = vec![0; asks.len()];
        for (at, n) in calls {
            passed[n] += u32::from(rate.try_take(&asks[n].0, at).is_ok());
        }
        passed
    }

    #[test]
    fn a_payout_client_at_5_a_second_beside_a_bulk_client_at_400_gets_all_its_calls() {
        let (mut rate, start) = (rate(50), Instant::now());
        let (bulk, payout) = (party("bulk", 1), party("payout", 1));
        served(&mut rate, start, &[(bulk.clone(), 400)], 5);
        let passed = served(&mut rate, start + Duration::from_secs(5), &[(bulk, 400), (payout, 5)], 12);
        assert_eq!(passed[1], 60);
        assert!((510..=545).contains(&passed[0]), "what the payout client leaves is lent: {passed:?}");
    }

    #[test]
    fn a_burst_within_a_share_passes_at_once() {
        let (mut rate, start) = (rate(50), Instant::now());
        let (bulk, payout) = (party("bulk", 1), party("payout", 1));
        served(&mut rate, start, &[(bulk.clone(), 400), (payout.clone(), 1)], 5);
        let now = start + Duration::from_secs(5);
        assert!((0..20).all(|_| rate.try_take(&payout, now).is_ok()));
        assert!((0..20).all(|_| rate.try_take(&bulk, now).is_err()));
    }

    #[test]
    fn those_who_want_everything_get_it_by_weight_and_a_lone_one_gets_all() {
        let start = Instant::now();
        let asks = [(party("a", 1), 300), (party("b", 2), 300), (party("c", 2), 10)];
        let passed = served(&mut rate(50), start, &asks, 60);
        assert_eq!(passed[2], 600);
        assert!(passed[0] >= 600 && passed[1] >= 1200, "{passed:?}");
        assert!((2950..=3050).contains(&passed.iter().sum::<u32>()), "{passed:?}");
        let alone = served(&mut rate(50), start, &[(party("a", 1), 300)], 60);
        assert!((3000..=3050).contains(&alone[0]), "{alone:?}");
    }

    #[test]
    fn a_rate_of_one_or_two_is_lent_too() {
        let start = Instant::now();
        for per_second in [1, 2] {
            let asks = [(party("a", 1), 20), (party("b", 1), 20), (party("c", 1), 20)];
            let passed: u32 = served(&mut rate(per_second), start, &asks, 60).iter().sum();
            assert!((per_second * 58..=per_second * 61).contains(&passed), "{per_second}: {passed}");
            let alone = served(&mut rate(per_second), start, &asks[..1], 60)[0];
            assert!((per_second * 58..=per_second * 61).contains(&alone), "{per_second}: {alone}");
        }
    }

    #[test]
    fn what_a_refused_call_is_told_to_wait_is_enough_and_not_too_much() {
        let (mut rate, mut now) = (rate(20), Instant::now());
        let (one, other) = (party("one", 3), party("other", 1));
        let mut random = fastrand::Rng::with_seed(13);
        for _ in 0..2_000 {
            now += Duration::from_micros(random.u64(0..20_000));
            let asks = if random.bool() { &one } else { &other };
            if let Err(NotYet { wait, .. }) = rate.try_take(asks, now) {
                assert!(wait > Duration::ZERO);
                let short = now + wait.saturating_sub(Duration::from_micros(1));
                assert!(wait < Duration::from_micros(2) || rate.try_take(asks, short).is_err());
                // What was rounded away by asking in between.
                now += wait + Duration::from_micros(1);
                assert_eq!(rate.try_take(asks, now), Ok(()));
            }
        }
    }

    #[test]
    fn no_second_has_more_than_the_rate_and_the_burst_and_everybody_has_its_share_of_a_long_time() {
        for seed in 0..30 {
            let mut random = fastrand::Rng::with_seed(seed);
            let per_second = random.u32(10..200);
            let parties: Vec<_> = (0..random.u32(2..6)).map(|n| party(&n.to_string(), random.u32(1..5))).collect();
            let weights: u32 = parties.iter().map(|one| one.weight.get()).sum();
            let (mut rate, start) = (rate(per_second), Instant::now());
            let mut passed = vec![0_u32; parties.len()];
            let steps = 30_000_u32;
            for step in 0..steps {
                let now = start + step * Duration::from_millis(1);
                // Everybody asks for more than its share, at random, some for far more.
                for (n, one) in parties.iter().enumerate() {
                    for _ in 0..=n {
                        if random.u32(0..1000) < per_second {
                            passed[n] += u32::from(rate.try_take(one, now).is_ok());
                        }
                    }
                }
            }
            let seconds = steps / 1000;
            let sum: u32 = passed.iter().sum();
            assert!(sum <= per_second * (seconds + 1), "seed {seed}: {sum} of {per_second} a second");
            assert!(sum >= per_second * (seconds - 1), "seed {seed}: {sum} of {per_second} a second");
            for (one, passed) in parties.iter().zip(&passed) {
                let share = per_second * seconds * one.weight.get() / weights;
                // A twentieth for what chance asks for too late to be had.
                assert!(passed + passed / 20 + 2 >= share * 9 / 10, "seed {seed}: {passed} of {share}, {parties:?}");
            }
        }
    }
}
