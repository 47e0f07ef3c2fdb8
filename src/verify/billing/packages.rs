//! Prepaid packages: how many calls are left of each, and for how long they last.
//!
//! The remainder is a pure fold over the provider's history by day in China: how many calls were billed, and whether
//! the provider then reported that its quota was used up. So another configuration or another process gets the same
//! numbers.

use std::num::NonZeroU64;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;

use crate::domain::clock::{date_in_china, start_in_china};
use crate::domain::money::MicroYuan;

/// Daily use is averaged over this many days.
const DAYS: i8 = 7;

/// One entry of `[[providers.NAME.packages]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Chosen by the operator.
    pub id: String,
    pub calls: NonZeroU64,
    /// What the whole package cost. Without it its calls are counted at list price.
    #[serde(default)]
    pub price_yuan: Option<String>,
    /// The first valid day, in China.
    pub bought: Date,
    /// The last valid day, in China.
    pub ends: Date,
}

/// The billed calls and quota refusals of one provider, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    day: Date,
    billed: u64,
    /// Whether the provider reported after these calls that its quota was used up.
    used_up: bool,
}

/// What is left of a package.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Left {
    pub(super) id: String,
    pub(super) calls: u64,
    /// The share of its calls that is left.
    pub(super) share: f64,
    pub(super) days: f64,
    /// When its last day is over.
    pub(super) ends: Option<Timestamp>,
}

impl History {
    /// Adds billed calls.
    pub(super) fn billed(&mut self, day: Date, calls: u64) {
        match self.0.last_mut() {
            Some(last) if last.day == day && !last.used_up => last.billed += calls,
            _ => self.0.push(Part { day, billed: calls, used_up: false }),
        }
    }

    /// Adds a call that was refused because the quota was used up.
    pub(super) fn used_up(&mut self, day: Date) {
        match self.0.last_mut() {
            Some(last) if last.day == day => last.used_up = true,
            _ => self.0.push(Part { day, billed: 0, used_up: true }),
        }
    }

    /// Prepends `earlier`, which must end before this history begins.
    pub(super) fn precede(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        self.0.extend(later.0);
    }

    /// Billed calls per day over the last `DAYS` days, or since the history began.
    fn average(&self, now: Timestamp) -> f64 {
        let today = date_in_china(now);
        let first = today.saturating_sub(jiff::Span::new().days(DAYS - 1));
        let recent = self.0.iter().filter(|part| part.day >= first);
        let billed = recent.map(|part| part.billed).sum();
        let begins = self.0.first().map_or(first, |part| part.day.max(first));
        // Divides by at least one day: a few hours say little about a whole day.
        float(billed) / start_in_china(begins).map_or(1.0, |begins| -days(now, begins)).max(1.0)
    }
}

impl Package {
    fn is_valid_on(&self, day: Date) -> bool {
        self.bought <= day && day <= self.ends
    }

    /// What the whole package cost, if that is given and an amount.
    fn price(&self) -> Option<MicroYuan> {
        MicroYuan::parse(self.price_yuan.as_ref()?)
    }

    /// What a call of it costs at most; nothing if its calls have the list price.
    pub fn dearest_call(&self) -> Option<MicroYuan> {
        let MicroYuan(price) = self.price()?;
        Some(MicroYuan(price.div_ceil(self.calls.get())))
    }

    /// Whether its price, if any, is an amount.
    pub fn has_readable_price(&self) -> bool {
        self.price_yuan.is_none() || self.price().is_some()
    }

    /// What the next call costs while `left` are left. Rounded so that all its calls together cost its price.
    fn price_of_next(&self, left: u64) -> Option<MicroYuan> {
        let (MicroYuan(price), calls) = (self.price()?, self.calls.get());
        let used = calls.saturating_sub(left);
        let up_to = |used: u64| u128::from(price) * u128::from(used) / u128::from(calls);
        u64::try_from(up_to(used + 1) - up_to(used)).ok().map(MicroYuan)
    }
}

/// The calls left of each package, by end date, earliest first. Each call uses up the package that ends first.
fn calls_left<'a>(packages: &'a [Package], history: &History) -> Vec<(&'a Package, u64)> {
    let mut all: Vec<_> = packages.iter().map(|package| (package, package.calls.get())).collect();
    all.sort_by(|(one, _), (other, _)| (one.ends, &one.id).cmp(&(other.ends, &other.id)));
    for part in &history.0 {
        let mut billed = part.billed;
        for (_, left) in all.iter_mut().filter(|(package, _)| package.is_valid_on(part.day)) {
            let used = billed.min(*left);
            (billed, *left) = (billed - used, *left - used);
        }
        // A package bought on the day of the refusal was probably bought because of it. If not, the next refusal shows
        // it.
        let was_there = |package: &Package| package.is_valid_on(part.day) && package.bought < part.day;
        if part.used_up {
            all.iter_mut().filter(|(package, _)| was_there(package)).for_each(|(_, left)| *left = 0);
        }
    }
    all
}

/// What the next billed call costs on `day`; nothing if it has the list price.
pub(super) fn next_price(packages: &[Package], history: &History, day: Date) -> Option<MicroYuan> {
    if packages.is_empty() {
        return None;
    }
    let mut left = calls_left(packages, history).into_iter();
    let (package, left) = left.find(|(package, left)| *left > 0 && package.is_valid_on(day))?;
    package.price_of_next(left)
}

/// What is left of each package at `now`. A package that is used after others lasts longer.
pub(super) fn left(packages: &[Package], history: &History, now: Timestamp) -> Vec<Left> {
    let average = history.average(now);
    // Days until the packages before this one are used up or have ended.
    let mut begins = 0.0_f64;
    let of = |(package, calls): (&Package, u64)| {
        let end = package.ends.tomorrow().ok().and_then(start_in_china);
        let ends = end.map_or(0.0, |end| days(now, end)).max(0.0);
        let calls = if ends > 0.0 { calls } else { 0 };
        let starts = start_in_china(package.bought).map_or(0.0, |bought| days(now, bought)).max(begins);
        let lasts = if average > 0.0 { float(calls) / average } else { f64::INFINITY };
        let days = if calls == 0 { 0.0 } else { (starts + lasts).min(ends) };
        begins = begins.max(days);
        Left { id: package.id.clone(), calls, share: float(calls) / float(package.calls.get()), days, ends: end }
    };
    calls_left(packages, history).into_iter().map(of).collect()
}

/// Days between two times; negative if `to` is before `from`.
fn days(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / (24.0 * 60.0 * 60.0)
}

#[expect(clippy::cast_precision_loss, reason = "a metric; the ledger has the exact number")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn day(day: i8) -> Date {
        date(2026, 11, day)
    }

    fn package(id: &str, calls: u64, bought: i8, ends: i8) -> Package {
        let calls = NonZeroU64::new(calls).unwrap();
        Package { id: id.to_owned(), calls, price_yuan: None, bought: day(bought), ends: day(ends) }
    }

    fn at(price: &str, package: Package) -> Package {
        Package { price_yuan: Some(price.to_owned()), ..package }
    }

    #[test]
    fn each_call_costs_what_its_package_cost_and_all_together_the_whole_price() {
        // Seed 002 sells 2,500 calls at 4 fen, 20,000 at 3.6 and 100,000 at 3.3; a third of a yuan has no end.
        for (calls, price, each) in [
            (2500, "100", 40_000..=40_000),
            (20_000, "720", 36_000..=36_000),
            (100_000, "3300", 33_000..=33_000),
            (3, "1", 333_333..=333_334),
            (500, "0", 0..=0),
            (7, "0.000003", 0..=1),
        ] {
            let package = at(price, package("p", calls, 1, 30));
            let prices: Vec<_> = (1..=calls).rev().map(|left| package.price_of_next(left).unwrap().0).collect();
            assert!(prices.iter().all(|price| each.contains(price)), "{price}");
            assert_eq!(Some(MicroYuan(prices.iter().sum())), MicroYuan::parse(price));
            assert_eq!(package.dearest_call().map(|MicroYuan(most)| most), prices.iter().max().copied(), "{price}");
        }
    }

    #[test]
    fn a_call_has_the_price_of_the_package_that_ends_first_then_of_the_next_then_of_the_list() {
        let packages =
            [at("8", package("late", 4, 1, 30)), at("1", package("early", 2, 1, 20)), package("listed", 1, 1, 10)];
        let mut history = History::default();
        let mut paid = |on: i8| {
            let price = next_price(&packages, &history, day(on)).map(|MicroYuan(price)| price);
            history.billed(day(on), 1);
            price
        };
        assert_eq!([paid(5), paid(5)], [None, Some(500_000)], "a package without a price has the list's");
        assert_eq!([paid(21), paid(21)], [Some(2_000_000); 2], "the early one has ended");
        assert_eq!(paid(6), Some(500_000));
        assert_eq!([paid(22), paid(22), paid(22)], [Some(2_000_000), Some(2_000_000), None]);
        assert_eq!(next_price(&[], &history, day(5)), None);
    }

    fn history(parts: &[(i8, u64)], used_up: &[i8]) -> History {
        let mut history = History::default();
        for (on, billed) in parts {
            (0..*billed).for_each(|_| history.billed(day(*on), 1));
            if used_up.contains(on) {
                history.used_up(day(*on));
            }
        }
        history
    }

    fn remaining(packages: &[Package], history: &History) -> Vec<(String, u64)> {
        calls_left(packages, history).into_iter().map(|(package, left)| (package.id.clone(), left)).collect()
    }

    fn noon(on: i8) -> Timestamp {
        start_in_china(day(on)).unwrap() + jiff::SignedDuration::from_hours(12)
    }

    #[test]
    fn calls_count_down_the_package_that_ends_first_among_those_valid_that_day() {
        let packages = [package("late", 100, 1, 30), package("early", 10, 5, 20)];
        let counted = |parts: &[(i8, u64)]| remaining(&packages, &history(parts, &[]));
        let left = |early: u64, late: u64| vec![("early".to_owned(), early), ("late".to_owned(), late)];
        assert_eq!(counted(&[]), left(10, 100));
        assert_eq!(counted(&[(1, 3), (5, 4)]), left(6, 97), "the early one was not bought yet");
        assert_eq!(counted(&[(5, 15)]), left(0, 95), "what it does not cover is the next one's");
        assert_eq!(counted(&[(20, 4), (21, 4)]), left(6, 96), "its last day is its own");
        assert_eq!(counted(&[(29, 200)]), left(10, 0), "nothing goes below zero");
    }

    #[test]
    fn a_refusal_for_lack_of_quota_empties_what_was_there_and_nothing_that_is_bought_because_of_it() {
        let packages = [package("old", 100, 1, 20), package("new", 50, 10, 28)];
        let mut history = history(&[(9, 5), (10, 3)], &[10]);
        let left = |old: u64, new: u64| vec![("old".to_owned(), old), ("new".to_owned(), new)];
        assert_eq!(remaining(&packages, &history), left(0, 50));
        history.billed(day(10), 1);
        history.used_up(day(10));
        history.used_up(day(10));
        history.billed(day(11), 1);
        assert_eq!(remaining(&packages, &history), left(0, 48));
        history.used_up(day(11));
        assert_eq!(remaining(&packages, &history), left(0, 0));
    }

    #[test]
    fn days_left_are_those_until_its_end_or_until_it_is_used_up_after_those_before_it() {
        let packages = [package("one", 100, 1, 20), package("two", 40, 1, 28)];
        let used = history(&[(3, 20), (9, 5), (10, 5)], &[]);
        // Since the 4th: 10 calls in six and a half days.
        let left = left(&packages, &used, noon(10));
        let days: Vec<_> = left.iter().map(|left| (left.calls, (left.days * 10.0).round() / 10.0)).collect();
        // 70 calls would last 45 days and 40 more another 26; each package ends before that.
        assert_eq!(days, [(70, 10.5), (40, 18.5)]);
        let busy = history(&[(3, 20), (10, 65)], &[]);
        let days: Vec<_> =
            super::left(&packages, &busy, noon(10)).iter().map(|left| (left.days * 10.0).round() / 10.0).collect();
        // Ten a day: 15 calls are left of the first package, then 40.
        assert_eq!(days, [1.5, 5.5]);
        let over = super::left(&packages, &busy, noon(29));
        assert!(over.iter().all(|left| left.calls == 0 && left.days == 0.0), "{over:?}");
        let unused = super::left(&[package("a", 1, 12, 20)], &History::default(), noon(10));
        assert_eq!((unused[0].calls, unused[0].days), (1, 10.5));
    }

    #[test]
    fn a_history_that_is_read_in_two_parts_is_the_same() {
        let (mut whole, mut late) = (history(&[(1, 2), (2, 3), (3, 4)], &[2]), history(&[(3, 4)], &[]));
        late.precede(history(&[(1, 2), (2, 3)], &[2]));
        assert_eq!(whole, late);
        whole.billed(day(4), 1);
        assert_ne!(whole, late);
    }
}
