//! A ring of counters by minute: the last day, in a fixed amount of memory.
//!
//! Counting is a few relaxed additions. Two threads that both begin a minute may lose a count or two of its first
//! microseconds, which a chart does not show; nothing that is billed or sealed is counted here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// How many minutes are kept: a day.
pub const DAY: i64 = 24 * 60;

/// The last [`DAY`] of `N` counters.
#[derive(Debug)]
pub struct Ring<const N: usize>(Box<[Slot<N>]>);

#[derive(Debug)]
struct Slot<const N: usize> {
    /// The minute that it counts, since 1970.
    minute: AtomicI64,
    counts: [AtomicU64; N],
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        let slot = |_| Slot { minute: AtomicI64::new(i64::MIN), counts: [const { AtomicU64::new(0) }; N] };
        Self((0..DAY).map(slot).collect())
    }
}

impl<const N: usize> Ring<N> {
    fn slot(&self, minute: i64) -> Option<&Slot<N>> {
        self.0.get(usize::try_from(minute.rem_euclid(DAY)).ok()?)
    }

    /// Adds to these counters of `minute`. A counter that does not exist is passed over.
    pub fn add(&self, minute: i64, counts: impl IntoIterator<Item = (usize, u64)>) {
        let Some(slot) = self.slot(minute) else { return };
        let of = slot.minute.load(Relaxed);
        if of != minute && slot.minute.compare_exchange(of, minute, Relaxed, Relaxed).is_ok() {
            slot.counts.iter().for_each(|count| count.store(0, Relaxed));
        }
        for (place, more) in counts {
            if let Some(count) = slot.counts.get(place) {
                count.fetch_add(more, Relaxed);
            }
        }
    }

    /// The counters of `minute`; zeros if nothing was counted.
    pub fn of(&self, minute: i64) -> [u64; N] {
        match self.slot(minute).filter(|slot| slot.minute.load(Relaxed) == minute) {
            Some(slot) => std::array::from_fn(|place| slot.counts.get(place).map_or(0, |count| count.load(Relaxed))),
            None => [0; N],
        }
    }

    /// The sums over the `minutes` that end with `last`.
    pub fn sum(&self, last: i64, minutes: i64) -> [u64; N] {
        let from = last.saturating_sub(minutes.min(DAY) - 1);
        (from..=last).map(|minute| self.of(minute)).fold([0; N], |mut sums, counts| {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
            sums
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_and_a_minute_begins_at_zero() {
        let ring = Ring::<2>::default();
        for minute in 100..100 + 2 * DAY {
            ring.add(minute, [(0, 1), (1, 10), (7, 1)]);
        }
        let last = 100 + 2 * DAY - 1;
        assert_eq!(ring.of(last), [1, 10]);
        assert_eq!(ring.sum(last, 60), [60, 600]);
        assert_eq!(ring.sum(last, i64::MAX), [1440, 14400]);
        assert_eq!(ring.of(last - DAY), [0, 0], "overwritten");
        assert_eq!(ring.sum(last + 30, 60), [30, 300], "quiet minutes count nothing");
    }
}
