use jiff::civil::date;

use super::*;
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::name::Name;
use crate::domain::subject::PairRules;
use crate::storage::table::Packed;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn config(names_per_number: usize, numbers_per_client: usize) -> Config {
    Config { names_per_number, numbers_per_client, window: HOUR }
}

fn key() -> DigestKey {
    DigestKey::new([7; 32])
}

/// The n-th name with the n-th number.
fn subject(name: u32, number: u32) -> Subject {
    let digits = format!("110101{}{:02}{:02}{:03}", 1950 + number % 50, 1 + number / 50 % 12, 1, number / 600 % 1000);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: usize = digits.bytes().zip(weights).map(|(digit, weight)| usize::from(digit - b'0') * weight).sum();
    let text = format!("{digits}{}", char::from(b"10X98765432"[sum % 11]));
    let number = IdNumber::parse(&text, date(2026, 11, 25), Calendar::Strict).unwrap();
    let name = Name::parse(&format!("张{}", char::from_u32(0x4e00 + name).unwrap())).unwrap();
    Subject::new(name, number, PairRules::default()).unwrap()
}

fn mark(number: u64, name: u64) -> Mark {
    Mark { number, name: Packed::new(i64::try_from(name).unwrap()) }
}

/// The only client of tests without any.
const ONE: u32 = 0;

/// The result of `client`'s question about the pair: `None` if it is admitted.
fn tried(tries: &Tries, config: &Config, client: &str, pair: (u32, u32), now: Instant) -> Option<(Kind, Duration)> {
    tries.admit(config, &key(), client, &subject(pair.0, pair.1), now).err()
}

/// ((numbers with names, their tries), numbers counted over all clients).
fn sizes(tries: &Tries) -> ((usize, usize), usize) {
    let state = tries.lock();
    (sizes_of(&state.names), state.numbers.kept())
}

fn sizes_of(names: &names::Names) -> (usize, usize) {
    (names.numbers(), names.len())
}

#[test]
fn twenty_names_against_one_number_are_stopped_at_the_limit_until_the_window_is_over() {
    let (tries, config, start) = (Tries::default(), config(5, 0), Instant::now());
    for n in 0..20 {
        let now = start + n * MINUTE;
        let expected = (n >= 5).then(|| (Kind::NamesPerNumber, HOUR - n * MINUTE));
        assert_eq!(tried(&tries, &config, "a", (n, 1), now), expected, "name {n}");
    }
    // A name tried before, another number and another client are still admitted.
    assert_eq!(tried(&tries, &config, "a", (0, 1), start + 30 * MINUTE), None);
    assert_eq!(tried(&tries, &config, "a", (9, 2), start + 30 * MINUTE), None);
    assert_eq!(tried(&tries, &config, "b", (9, 1), start + 30 * MINUTE), None);
    // Each of the five names frees its place an hour after it was tried, and a refused try has not taken that place.
    assert!(tried(&tries, &config, "a", (9, 1), start + HOUR - Duration::from_millis(1)).is_some());
    assert_eq!(tried(&tries, &config, "a", (9, 1), start + HOUR), None);
    assert_eq!(tried(&tries, &config, "a", (10, 1), start + HOUR), Some((Kind::NamesPerNumber, MINUTE)));
}

#[test]
fn the_same_again_is_not_counted_again_and_gives_no_longer_respite() {
    let (tries, config, start) = (Tries::default(), config(2, 2), Instant::now());
    for n in 0..50 {
        assert_eq!(tried(&tries, &config, "a", (1, 1), start + n * MINUTE), None);
    }
    assert_eq!(tried(&tries, &config, "a", (2, 1), start + 50 * MINUTE), None);
    // The first name counts from its first question on, so its place is free an hour after that, not later.
    assert_eq!(tried(&tries, &config, "a", (3, 1), start + HOUR), None);
    assert!(tried(&tries, &config, "a", (4, 1), start + HOUR).is_some());
}

#[test]
fn a_client_asks_about_so_many_numbers_in_any_window_and_no_more() {
    let (tries, config, start) = (Tries::default(), config(0, 3), Instant::now());
    for n in 0..3 {
        assert_eq!(tried(&tries, &config, "a", (1, n), start + n * MINUTE), None);
    }
    let now = start + 10 * MINUTE;
    assert_eq!(tried(&tries, &config, "a", (1, 9), now), Some((Kind::NumbersPerClient, 50 * MINUTE)));
    assert_eq!((tried(&tries, &config, "a", (2, 0), now), tried(&tries, &config, "b", (1, 9), now)), (None, None));
    assert_eq!(tried(&tries, &config, "a", (1, 9), start + HOUR), None);
    assert!(tried(&tries, &config, "a", (1, 8), start + HOUR).is_some());
}

#[test]
fn an_honest_client_with_a_thousand_people_a_minute_is_never_stopped() {
    let (tries, config, start) = (Tries::default(), config(5, 100_000), Instant::now());
    let mut state = tries.lock();
    // Three hours, each person once. Uses marks directly: building 180,000 subjects would take longer than the test.
    for n in 0..180_000_u32 {
        let now = start + n * (MINUTE / 1000);
        let mark = mark(u64::from(n), 1);
        assert_eq!(state.admit(&config, "honest", mark, now).map(drop), Ok(()), "person {n}");
    }
    let (numbers, lines) = sizes_of(&state.names);
    assert_eq!((numbers, lines, state.numbers.kept()), (60_000, 60_000, 60_000), "an hour's worth, and no more");
}

#[test]
fn a_refused_question_leaves_nothing_behind() {
    let (tries, config, now) = (Tries::default(), config(2, 3), Instant::now());
    for n in 0..3 {
        tried(&tries, &config, "a", (1, n), now);
    }
    let before = sizes(&tries);
    for n in 10..100 {
        assert!(tried(&tries, &config, "a", (n, n), now).is_some());
    }
    tried(&tries, &config, "a", (2, 0), now);
    assert!(tried(&tries, &config, "a", (3, 0), now).is_some());
    let ((numbers, lines), kept) = before;
    assert_eq!(sizes(&tries), ((numbers, lines + 1), kept));
}

#[test]
fn whoever_floods_the_table_pushes_out_the_quiet_and_never_the_traces_of_several_names() {
    let (mut names, now) = (names::Names::default(), 0);
    for name in 0..5 {
        names.count(ONE, mark(0, name), now, 100);
    }
    for number in 1..=10_000 {
        names.count(ONE, mark(number, 1), now, 100);
    }
    assert!(names.check(ONE, mark(0, 9), 5).is_err(), "the number with five names is still guarded");
    assert!(names.check(ONE, mark(10_000, 9), 1).is_err(), "and so is the newest of the quiet");
    assert!(names.check(ONE, mark(1, 9), 1).is_ok(), "the oldest of the quiet has made room");
    let (numbers, lines) = sizes_of(&names);
    assert!(numbers <= 97 && lines <= 100, "{numbers} numbers, {lines} lines");
}

#[test]
fn the_table_is_bounded_also_when_every_number_is_loud() {
    let (mut names, now) = (names::Names::default(), 0);
    for number in 0..10_000 {
        for name in 0..5 {
            names.count(ONE, mark(number, name), now, 100);
        }
    }
    let (numbers, lines) = sizes_of(&names);
    assert!(lines <= 100 && numbers <= lines, "{numbers} numbers, {lines} lines");
    assert!(names.check(ONE, mark(9_999, 9), 5).is_err(), "the newest is guarded");
}

#[test]
fn a_number_that_lapsed_and_came_back_is_not_evicted_for_what_it_was() {
    let (mut names, start) = (names::Names::default(), 0);
    for name in 0..3 {
        names.count(ONE, mark(0, name), start, 100);
    }
    // Its three names lapse, and it is asked about again.
    names.lapse_of(ONE, 0, start);
    let now = start + millis(HOUR);
    names.count(ONE, mark(0, 7), now, 100);
    for number in 1..=60 {
        for name in 0..2 {
            names.count(ONE, mark(number, name), now, 100);
        }
    }
    assert!(names.check(ONE, mark(0, 9), 1).is_err(), "one of few quiet numbers, and the newest of them");
}

#[test]
fn no_flood_of_any_kind_keeps_more_tries_than_allowed() {
    let mut names = names::Names::default();
    let mut random = fastrand::Rng::with_seed(13);
    for step in 0..50_000 {
        let now = step * 10;
        names.lapse(now - millis(MINUTE), FEW);
        match random.u8(0..50) {
            0 => assert!(names.forget(random.u64(0..500)).values().sum::<usize>() <= 10),
            1 => names.lapse_of(random.u32(0..2), random.u64(0..500), now - millis(MINUTE) / 2),
            _ => names.count(random.u32(0..2), mark(random.u64(0..500), random.u64(0..5)), now, 100),
        }
        assert!(names.len() <= 100);
        if step % 997 == 0 {
            let tries = (0..500).map(|number| names.tries_of(0, number) + names.tries_of(1, number));
            assert_eq!(tries.sum::<usize>(), names.len());
        }
    }
}

#[test]
fn a_question_costs_the_same_at_100_000_tries_as_at_1_000() {
    for people in [1_000, 100_000_u64] {
        let (tries, config, start) = (Tries::default(), config(5, usize::MAX), Instant::now());
        let mut state = tries.lock();
        let kept = |state: &State| state.names.len() + state.numbers.kept();
        for number in 0..people {
            let loud = if number % 10 == 0 { 3 } else { 1 };
            for name in 0..loud {
                assert_eq!(state.admit(&config, "a", mark(number, name), start).map(drop), Ok(()));
            }
        }
        // All has lapsed at once. A question adds one entry to each table, and removes a few: numbers with up to three
        // names.
        let questions = people / 3;
        for number in 0..questions {
            let before = kept(&state);
            let mark = mark(people + number, 1);
            assert_eq!(state.admit(&config, "a", mark, start + 2 * HOUR).map(drop), Ok(()));
            assert!(before <= kept(&state) + 4 * FEW, "{people}: {before} entries, then {}", kept(&state));
        }
        assert_eq!(kept(&state) as u64, 2 * questions, "{people}: nothing is left of what has lapsed");
    }
}

#[test]
fn a_limit_that_was_lowered_counts_what_has_not_lapsed() {
    let (tries, start) = (Tries::default(), Instant::now());
    for number in 0..50 {
        assert_eq!(tried(&tries, &config(0, 100), "a", (1, number), start), None);
    }
    assert_eq!(tried(&tries, &config(0, 3), "a", (1, 60), start + HOUR), None);
    assert_eq!(tried(&tries, &config(0, 3), "a", (1, 1), start + HOUR), None, "asked again, after an hour");
    assert_eq!(tried(&tries, &config(0, 3), "a", (1, 2), start + HOUR), None);
    assert!(tried(&tries, &config(0, 3), "a", (1, 3), start + HOUR).is_some());
}

#[test]
fn what_is_over_goes_although_nobody_asks() {
    let (tries, config, start) = (Tries::default(), config(5, 10_000), Instant::now());
    for n in 0..5_000 {
        let mark = mark(n % 2_500, n);
        assert_eq!(tries.lock().admit(&config, "a", mark, start).map(drop), Ok(()));
    }
    tries.sweep(HOUR, start + HOUR - Duration::from_millis(1));
    assert_eq!(sizes_of(&tries.lock().names), (2_500, 5_000));
    tries.sweep(HOUR, start + HOUR);
    assert_eq!(sizes(&tries), ((0, 0), 0));
}

#[test]
fn a_forgotten_person_leaves_no_line_in_any_table() {
    let (tries, config, now) = (Tries::default(), config(5, 10), Instant::now());
    for (client, pair) in [("a", (1, 1)), ("a", (2, 1)), ("b", (1, 1)), ("a", (1, 2))] {
        assert_eq!(tried(&tries, &config, client, pair, now), None);
    }
    // Tries with other names are about the same number, so they are erased too.
    assert_eq!(tries.forget(number(&key(), &subject(1, 1))), 3);
    assert_eq!(sizes(&tries), ((1, 1), 1));
    assert_eq!(tries.forget(number(&key(), &subject(1, 1))), 0);
}

#[test]
fn no_client_may_be_let_to_fill_the_table_alone() {
    let keys = |config: Config| config.validate().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(config(5, 100_000).validate(), []);
    assert_eq!((keys(config(5, 112_500)), keys(config(1, usize::MAX))), (vec![], vec![]));
    assert_eq!((keys(config(5, 112_501)), keys(config(0, usize::MAX))), (vec!["numbers_per_client"], vec![]));
    assert_eq!((keys(config(100, 0)), keys(config(101, 0))), (vec![], vec!["names_per_number"]));
    let at = |window| keys(Config { window, ..config(5, 1) });
    assert_eq!((at(Duration::ZERO), at(25 * HOUR), at(24 * HOUR)), (vec!["window"], vec!["window"], vec![]));
}
