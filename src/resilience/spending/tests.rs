use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const MOST: u64 = 300;

/// The first of a month with thirty days.
const APRIL: i64 = 90 * DAY;

fn on(day: i64) -> Moment {
    after(24 * day, 0)
}

/// So many hours after the start, by a calendar that was changed by some.
fn after(hours: i64, changed: i64) -> Moment {
    Moment::new(hours * HOUR, APRIL + (hours + changed) * HOUR)
}

fn limited(limits: Limits) -> Arc<Spending> {
    let spending = Arc::new(Spending::new(on(0)));
    spending.limit(limits);
    spending
}

fn calls(day: Option<u64>, month: Option<u64>) -> Limits {
    Limits { day: Limit { calls: day, amount: None }, month: Limit { calls: month, amount: None } }
}

fn use_of(calls: u64, amount: u64) -> Use {
    Use { calls, amount }
}

#[test]
fn what_others_have_used_counts_in_its_period_and_while_they_cannot_be_asked_only_a_part_is_left() {
    let spending = limited(calls(Some(100), None));
    let [day, month] = spending.totals(on(0)).map(|(number, _)| number);
    let mut kept = Vec::new();
    let mut sold = |at: Moment| {
        let before = kept.len();
        while let Ok(reserved) = spending.try_reserve(at, 0) {
            kept.push(reserved);
        }
        kept.len() - before
    };
    spending.heard([(day, use_of(90, 0)), (month, use_of(90, 0))]);
    assert_eq!(sold(on(0)), 10);
    spending.heard([(day, use_of(60, 0)), (month, use_of(60, 0))]);
    // 30 are left: a third of them.
    spending.divide(on(0), 3);
    assert_eq!(sold(on(0)), 10);
    spending.divide(on(0), 3);
    assert_eq!(sold(on(0)), 0, "it is divided once");
    spending.heard([(day, use_of(75, 0)), (month, use_of(75, 0))]);
    assert_eq!(sold(on(0)), 5);
    // Tomorrow the others are not heard of yet, and what is reserved counts anew.
    spending.divide(on(1), 3);
    assert_eq!(sold(on(1)), 25, "a third of the 75 that are left beside the 25 reserved");
}

#[test]
fn what_is_reserved_is_spent_until_it_is_known_to_have_cost_less() {
    let spending = limited(Limits { day: Limit { calls: None, amount: Some(2 * MOST) }, month: Limit::default() });
    let (one, other) = (spending.try_reserve(on(0), MOST).unwrap(), spending.try_reserve(on(0), MOST).unwrap());
    assert_eq!(spending.try_reserve(on(0), 1).unwrap_err(), Full::Day);
    one.settle(on(0), use_of(1, 100));
    assert!(spending.try_reserve(on(0), 201).is_err());
    other.settle(on(0), use_of(0, 0));
    let third = spending.try_reserve(on(0), MOST).unwrap();
    assert_eq!(spending.used(on(0)).map(|(_, used)| used), [use_of(2, 400); 2]);
    third.release();
    assert_eq!(spending.used(on(0)).map(|(_, used)| used), [use_of(1, 100); 2]);
}

#[test]
fn a_reservation_that_is_dropped_was_spent_whole() {
    let spending = limited(calls(Some(1), None));
    drop(spending.try_reserve(on(0), MOST).unwrap());
    assert_eq!(spending.used(on(0)).map(|(_, used)| used), [use_of(1, MOST); 2]);
    assert_eq!(spending.try_reserve(on(0), MOST).unwrap_err(), Full::Day);
}

#[test]
fn a_day_and_a_month_end_and_what_is_under_way_then_counts_in_the_next() {
    let spending = limited(calls(Some(2), Some(3)));
    spending.try_reserve(on(28), MOST).unwrap().settle(on(28), use_of(1, MOST));
    let late = spending.try_reserve(on(28), MOST).unwrap();
    assert_eq!(spending.try_reserve(on(28), MOST).unwrap_err(), Full::Day);
    // It is still open, so one of the new day's two calls is left. After that the month's three are used up.
    let early = spending.try_reserve(on(29), MOST).unwrap();
    assert_eq!(spending.try_reserve(on(29), MOST).unwrap_err(), Full::Month);
    late.settle(on(30), use_of(1, MOST));
    assert_eq!(spending.used(on(30)).map(|(_, used)| used.calls), [2, 2]);
    early.settle(on(30), use_of(1, MOST));
    assert_eq!(spending.try_reserve(on(30), MOST).unwrap_err(), Full::Day);
    // A caller that comes late does not reopen yesterday.
    assert_eq!(spending.try_reserve(on(29), MOST).unwrap_err(), Full::Day);
    assert!(spending.try_reserve(on(31), MOST).is_ok());
}

#[test]
fn other_limits_hold_at_once_for_what_was_spent_without_any() {
    let spending = limited(Limits::default());
    for _ in 0..5 {
        spending.try_reserve(on(0), MOST).unwrap().settle(on(0), use_of(1, MOST));
    }
    spending.limit(calls(Some(5), None));
    assert!(spending.try_reserve(on(0), MOST).is_err());
    spending.limit(calls(Some(6), None));
    assert!(spending.try_reserve(on(0), MOST).is_ok());
    let before = limited(calls(None, Some(7)));
    before.spent_before(on(1), use_of(1, 10), use_of(7, 70));
    assert_eq!(before.used(on(1)).map(|(_, used)| used.calls), [1, 7]);
    assert_eq!(before.used(on(2)).map(|(_, used)| used.calls), [0, 7]);
    assert_eq!(before.try_reserve(on(2), MOST).unwrap_err(), Full::Month);
}

#[test]
fn a_step_of_the_clock_frees_no_budget_and_freezes_none() {
    for changed in [40 * 24, -40 * 24, 26, -26] {
        let spending = limited(calls(Some(2), Some(40)));
        let spend = |at: Moment| spending.try_reserve(at, MOST).map(|reserved| reserved.settle(at, use_of(1, MOST)));
        let used = |at: Moment| spending.used(at).map(|(_, used)| used.calls);
        // Two days at the end of April, the second at noon.
        spend(after(20 * 24 + 12, 0)).unwrap();
        spend(after(21 * 24 + 11, 0)).unwrap();
        // Another day, and nearly as many calls left: this morning's has moved with it.
        let wrong = after(21 * 24 + 12, changed);
        assert_eq!(used(wrong)[0], 1, "{changed}");
        spend(wrong).unwrap();
        // The right day again: its sums, with what was spent meanwhile.
        assert_eq!(used(after(21 * 24 + 13, 0)), [2, 3], "{changed}");
        assert_eq!(spend(after(21 * 24 + 13, 0)).unwrap_err(), Full::Day);
        assert_eq!(used(after(22 * 24, 0)), [0, 3], "and the next day is a new one");
        assert_eq!(used(after(30 * 24, 0)), [0, 0]);
        // When the wrong day comes, nothing is left of it.
        assert_eq!(used(after(21 * 24 + 13 + 40 * 24, 0)), [0, 0]);
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Reserve(u64),
    /// Settles the n-th open reservation at a percentage of what it reserved.
    Settle(usize, u64),
    Release(usize),
    Drop(usize),
    /// So many hours pass.
    Later(i64),
    /// The calendar is changed by so many hours.
    Set(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        15 => (0..=MOST).prop_map(Step::Reserve),
        9 => (any::<usize>(), 0..=100_u64).prop_map(|(index, share)| Step::Settle(index, share)),
        3 => any::<usize>().prop_map(Step::Release),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => (0..=480_i64).prop_map(Step::Later),
        1 => (-1000..=1000_i64).prop_map(Step::Set),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    /// The model sums what was settled in each period of the present calendar, whenever it was reserved. This is how the
    /// payer sees it.
    #[test]
    fn no_limit_is_ever_passed_in_whatever_order_calls_begin_and_end(
        steps in proptest::collection::vec(step(), 1..200),
        (calls_a_day, amount_a_day) in (1..20_u64, 1..4_000_u64),
        (calls_a_month, amount_a_month) in (1..60_u64, 1..12_000_u64),
    ) {
        let limits = Limits {
            day: Limit { calls: Some(calls_a_day), amount: Some(amount_a_day) },
            month: Limit { calls: Some(calls_a_month), amount: Some(amount_a_month) },
        };
        let spending = limited(limits);
        let mut open = Vec::new();
        let (mut hours, mut changed, mut was_changed) = (0, 0, false);
        let mut ended: Vec<(i64, Use)> = Vec::new();
        for step in steps {
            let at = after(hours, changed);
            let pick = |open: &mut Vec<(Reserved, u64)>, index: usize| {
                (!open.is_empty()).then(|| open.swap_remove(index % open.len()))
            };
            match step {
                Step::Reserve(most) => {
                    if let Ok(reserved) = spending.try_reserve(at, most) {
                        open.push((reserved, most));
                    }
                }
                Step::Settle(index, share) => {
                    if let Some((reserved, most)) = pick(&mut open, index) {
                        let spent = use_of(u64::from(share > 0), most * share / 100);
                        reserved.settle(at, spent);
                        ended.push((at.monotonic, spent));
                    }
                }
                Step::Release(index) => {
                    if let Some((reserved, _)) = pick(&mut open, index) {
                        reserved.release();
                    }
                }
                Step::Drop(index) => {
                    if let Some((reserved, most)) = pick(&mut open, index) {
                        drop(reserved);
                        ended.push((at.monotonic, use_of(1, most)));
                    }
                }
                Step::Later(more) => hours += more,
                Step::Set(to) => (changed, was_changed) = (to, true),
            }
            let at = after(hours, changed);
            let used = spending.used(at).map(|(_, used)| used);
            let sum = |wanted: &dyn Fn(i64) -> bool| {
                let ended = ended.iter().filter(|(when, _)| *when >= at.monotonic - KEPT && wanted(*when));
                ended.fold(Use::default(), |sum, (_, spent)| sum + *spent)
            };
            let of_today = sum(&|when| at.day(when) == at.day(at.monotonic));
            let of_this_month = sum(&|when| at.month(when) == at.month(at.monotonic));
            if !was_changed {
                prop_assert!(limits.day.has_room_for(of_today), "{of_today:?} of {:?}", limits.day);
                prop_assert!(limits.month.has_room_for(of_this_month), "{of_this_month:?} of {:?}", limits.month);
            }
            let reserved = open.iter().fold(Use::default(), |sum, (_, most)| sum + use_of(1, *most));
            prop_assert_eq!(used, [of_today + reserved, of_this_month + reserved]);
        }
    }
}
