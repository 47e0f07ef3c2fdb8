//! Which wall clock to believe after a step: the one that has held longer.
//!
//! The wall clock is followed as long as it moves as the monotonic clock does, small corrections included. After a step
//! the time goes on as before, until the new time has held for [`LONGEST_DOUBT`], or for as long as the earlier one had
//! held: so a wrong date of a few minutes moves nothing, and a clock that is set right soon after the start is believed
//! soon. All numbers are microseconds; `mono` counts from the start, and `ahead` is the wall clock minus `mono`.

/// A smaller difference is a correction, as time daemons make them all the time.
pub(super) const STEP: i64 = 2_000_000;
/// The maximum time after which a new time is believed.
pub(super) const LONGEST_DOUBT: i64 = 3_600_000_000;
/// The number of earlier times to remember.
const MOST_EARLIER: usize = 16;

#[derive(Debug)]
pub(super) struct Belief {
    pub(super) ahead: i64,
    since: i64,
    doubt: Option<Doubt>,
    /// What was believed before, with the end of that time.
    earlier: Vec<(i64, i64)>,
    /// How often another time was believed.
    pub(super) turns: u32,
    pub(super) forward: u64,
    pub(super) back: u64,
}

/// A time that is not believed yet.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    ahead: i64,
    since: i64,
}

impl Belief {
    pub(super) fn new(ahead: i64) -> Self {
        Self { ahead, since: 0, doubt: None, earlier: Vec::new(), turns: 0, forward: 0, back: 0 }
    }

    /// Takes note of both clocks.
    pub(super) fn observe(&mut self, mono: i64, ahead: i64) {
        let seen = self.doubt.map_or(self.ahead, |doubt| doubt.ahead);
        match ahead.saturating_sub(seen) {
            by if by >= STEP => self.forward += 1,
            by if by <= -STEP => self.back += 1,
            _ => {}
        }
        if is_near(ahead, self.ahead) {
            // Followed, or returned to.
            (self.ahead, self.doubt) = (ahead, None);
            return;
        }
        let since = self.doubt.filter(|doubt| is_near(ahead, doubt.ahead)).map_or(mono, |doubt| doubt.since);
        let held = since.saturating_sub(self.since);
        if mono.saturating_sub(since) < held.min(LONGEST_DOUBT) {
            self.doubt = Some(Doubt { ahead, since });
            return;
        }
        if self.earlier.len() == MOST_EARLIER {
            self.earlier.remove(0);
        }
        self.earlier.push((mono, self.ahead));
        (self.ahead, self.since, self.doubt) = (ahead, since, None);
        self.turns += 1;
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    /// The earliest monotonic time at which `at` can have been the believed time.
    pub(super) fn when(&self, at: i64) -> i64 {
        let mut from = i64::MIN;
        for (until, ahead) in &self.earlier {
            let mono = at.saturating_sub(*ahead);
            if (from..=*until).contains(&mono) {
                return mono;
            }
            from = *until;
        }
        at.saturating_sub(self.ahead)
    }

    /// The lowest of all `ahead` that were believed at `since` or later.
    pub(super) fn lowest_since(&self, since: i64) -> i64 {
        let earlier = self.earlier.iter().filter(|(until, _)| *until >= since).map(|(_, ahead)| *ahead);
        earlier.fold(self.ahead, i64::min)
    }
}

pub(super) fn is_near(one: i64, other: i64) -> bool {
    one.saturating_sub(other).saturating_abs() < STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn a_wrong_date_moves_nothing_and_the_return_is_seen_as_a_step_too() {
        for wrong in [40 * DAY, -40 * DAY, 10 * SECOND] {
            let mut belief = Belief::new(0);
            belief.observe(5 * HOUR, 0);
            for minute in 0..59 {
                belief.observe(5 * HOUR + minute * 60 * SECOND, wrong);
                assert_eq!((belief.ahead, belief.is_doubtful()), (0, true), "{wrong}");
            }
            belief.observe(6 * HOUR, 0);
            assert_eq!((belief.ahead, belief.is_doubtful(), belief.turns), (0, false, 0));
            assert_eq!((belief.forward, belief.back), (1, 1));
        }
    }

    #[test]
    fn a_new_time_is_believed_after_an_hour_or_as_long_as_the_old_one_had_held() {
        let mut late = Belief::new(0);
        for (at, believed) in [(5 * HOUR, 0), (6 * HOUR - 1, 0), (6 * HOUR, DAY)] {
            late.observe(at, DAY);
            assert_eq!(late.ahead, believed, "{at}");
        }
        assert_eq!(late.turns, 1);
        // A machine starts in 1970 and asks the time ten seconds later.
        let mut early = Belief::new(0);
        for (at, believed) in [(10 * SECOND, 0), (19 * SECOND, 0), (20 * SECOND, 20_000 * DAY)] {
            early.observe(at, 20_000 * DAY);
            assert_eq!(early.ahead, believed, "{at}");
        }
    }

    #[test]
    fn a_third_time_starts_over_and_small_corrections_add_up() {
        let mut belief = Belief::new(0);
        for hour in 0..100 {
            belief.observe(hour * HOUR, hour * SECOND);
        }
        assert_eq!((belief.ahead, belief.forward), (99 * SECOND, 0), "followed");
        belief.observe(100 * HOUR, DAY);
        belief.observe(101 * HOUR - SECOND, 2 * DAY);
        belief.observe(101 * HOUR, 2 * DAY + SECOND);
        assert_eq!(belief.ahead, 99 * SECOND);
        belief.observe(102 * HOUR, 2 * DAY + SECOND);
        assert_eq!((belief.ahead, belief.forward), (2 * DAY + SECOND, 2));
        assert_eq!(belief.lowest_since(101 * HOUR), 99 * SECOND);
        assert_eq!(belief.lowest_since(102 * HOUR + 1), 2 * DAY + SECOND);
        assert_eq!(belief.when(50 * HOUR), 50 * HOUR - 99 * SECOND, "by what was believed then");
        assert_eq!(belief.when(200 * HOUR), 200 * HOUR - 2 * DAY - SECOND);
    }
}
