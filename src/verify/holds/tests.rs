use super::*;
use crate::domain::subject::DigestKey;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn config() -> Config {
    Config { first: 10 * MINUTE, longest: DAY, calls: 5, window: 10 * MINUTE }
}

fn holds() -> Holds {
    Holds::new(config())
}

fn person(n: u32) -> Digest {
    DigestKey::new([7; 32]).digest("test/v1", &[&n.to_be_bytes()])
}

#[test]
fn a_held_person_is_refused_until_the_end_of_the_hold_and_nobody_else_is() {
    let (holds, start) = (holds(), Instant::now());
    assert_eq!(holds.hold(person(1), start), 10 * MINUTE);
    assert_eq!(holds.record_call(person(1), start + 4 * MINUTE), Err(6 * MINUTE));
    assert_eq!(holds.record_call(person(2), start + 4 * MINUTE), Ok(()));
    assert_eq!((holds.active(start), holds.active(start + 10 * MINUTE)), (1, 0));
    assert_eq!(holds.record_call(person(1), start + 10 * MINUTE), Ok(()));
}

#[test]
fn each_hold_is_twice_as_long_as_the_last_up_to_a_day() {
    let (holds, mut now) = (holds(), Instant::now());
    for minutes in [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        let length = holds.hold(person(1), now);
        assert_eq!(length, minutes * MINUTE);
        now += length;
    }
    // After the longest hold has passed without a refusal, the first length applies again.
    assert_eq!(holds.hold(person(1), now + DAY), 10 * MINUTE);
}

#[test]
fn a_second_refusal_of_calls_that_were_out_together_lengthens_nothing() {
    let (holds, start) = (holds(), Instant::now());
    assert_eq!(holds.hold(person(1), start), 10 * MINUTE);
    assert_eq!(holds.hold(person(1), start + MINUTE), 10 * MINUTE);
    assert_eq!(holds.record_call(person(1), start + 2 * MINUTE), Err(9 * MINUTE));
    assert_eq!(holds.hold(person(1), start + 11 * MINUTE), 20 * MINUTE);
}

#[test]
fn five_calls_in_any_ten_minutes_and_no_more() {
    let (holds, start) = (holds(), Instant::now());
    for minute in 0..5 {
        assert_eq!(holds.record_call(person(1), start + minute * MINUTE), Ok(()));
    }
    assert_eq!(holds.record_call(person(1), start + 6 * MINUTE), Err(4 * MINUTE));
    assert_eq!(holds.record_call(person(2), start + 6 * MINUTE), Ok(()));
    assert_eq!(holds.record_call(person(1), start + 10 * MINUTE), Ok(()));
    assert_eq!(holds.record_call(person(1), start + 10 * MINUTE), Err(MINUTE));
    // Reaching our own call limit does not create a hold.
    assert_eq!(holds.active(start + 10 * MINUTE), 0);
}

#[test]
fn a_call_that_was_not_made_is_not_counted() {
    let (holds, now) = (holds(), Instant::now());
    for _ in 0..20 {
        assert_eq!(holds.record_call(person(1), now), Ok(()));
        holds.cancel_call(person(1));
    }
    assert_eq!((0..10).filter(|_| holds.record_call(person(1), now).is_ok()).count(), 5);
}

#[test]
fn calls_that_were_not_made_push_nobody_out_of_the_table() {
    let (holds, now) = (holds(), Instant::now());
    for _ in 0..5 {
        assert_eq!(holds.record_call(person(0), now), Ok(()));
    }
    let other = person(1);
    for _ in 0..=MOST_ENTRIES {
        assert_eq!(holds.record_call(other, now), Ok(()));
        holds.cancel_call(other);
    }
    assert!(holds.record_call(person(0), now).is_err());
    assert_eq!(holds.lock().calls.len(), 5);
}

#[test]
fn what_is_over_takes_no_memory() {
    let (holds, start) = (holds(), Instant::now());
    for n in 0..1000 {
        assert_eq!(holds.record_call(person(n), start), Ok(()));
        holds.hold(person(n), start);
    }
    let later = start + 10 * MINUTE + DAY;
    assert_eq!(holds.active(later), 0, "although nobody asks");
    let state = holds.lock();
    assert_eq!((state.calls.len(), state.held.len(), state.running), (0, 0, 0));
}

/// The most entries that one call looked at, over `calls` of them.
fn dearest(holds: &Holds, calls: u32, mut call: impl FnMut(u32)) -> usize {
    let visited = || holds.lock().visited;
    (0..calls)
        .map(|n| {
            let before = visited();
            call(n);
            visited() - before
        })
        .max()
        .unwrap_or_default()
}

#[test]
fn a_question_costs_the_same_at_120_000_holds_as_at_1_000() {
    for people in [1_000, 120_000] {
        let (holds, start) = (holds(), Instant::now());
        for n in 0..people {
            holds.hold(person(n), start + n * Duration::from_millis(1));
            assert!(holds.record_call(person(people + n), start + n * Duration::from_millis(1)).is_ok());
        }
        // While all are held; when all holds are over at once; when all that is remembered of them is over at once.
        for now in [start + 5 * MINUTE, start + 20 * MINUTE, start + 3 * DAY] {
            let most = dearest(&holds, 1_000, |n| {
                let _ = holds.record_call(person(3 * people + n), now);
                holds.hold(person(4 * people + n), now);
                holds.cancel_call(person(3 * people + n));
                holds.forget(person(n));
            });
            assert!(most <= 2 * FEW, "{people} people, {:?}: {most} entries", now - start);
        }
    }
}

#[test]
fn a_full_table_makes_room_in_one_step_and_for_the_newcomer() {
    let (holds, now) = (holds(), Instant::now());
    let most = u32::try_from(MOST_ENTRIES).unwrap();
    holds.hold(person(0), now - 11 * MINUTE);
    holds.hold(person(1), now - 30 * MINUTE);
    assert_eq!(holds.hold(person(1), now - MINUTE), 20 * MINUTE);
    for n in 2..most {
        holds.hold(person(n), now);
    }
    let held = |n: u32| holds.lock().find_hold(person(n).half()).is_some();
    let more = |n: u32| {
        let visited = dearest(&holds, 1, |_| assert!(!holds.hold(person(n), now).is_zero()));
        assert!(visited <= FEW + 1 && held(n), "{n}: {visited} entries");
    };
    more(most);
    assert!(!held(0) && held(2), "whose hold was over");
    more(most + 1);
    assert!(held(1) && !held(2), "whose hold ends first, of whatever length");
    assert_eq!(holds.lock().held.len(), MOST_ENTRIES);
    for n in 0..=most {
        assert_eq!(holds.record_call(person(2 * most + n), now), Ok(()));
    }
    assert!(holds.lock().calls.len() <= MOST_ENTRIES);
}

#[test]
fn the_tables_agree_whatever_happens_in_whatever_order() {
    let (holds, start) = (holds(), Instant::now());
    let mut random = fastrand::Rng::with_seed(13);
    let mut now = start;
    for _ in 0..50_000 {
        now += Duration::from_millis(random.u64(0..2_000));
        let person = person(random.u32(0..200));
        match random.u8(0..20) {
            0..10 => holds.record_call(person, now).unwrap_or_default(),
            10..14 => holds.cancel_call(person),
            14..17 => assert!(!holds.hold(person, now).is_zero()),
            17 => assert!(!holds.forget(person) || !holds.forget(person)),
            18 => assert!(holds.active(now) <= 200),
            _ => {
                let first = MINUTE * random.u32(1..30);
                holds.reconfigure(Config { first, longest: first * random.u32(1..9), ..config() });
            }
        }
        let state = holds.lock();
        assert_eq!(state.running, state.held.iter().filter(|held| !held.has_ended).count());
        let is_listed = |held: &&Held| held.has_ended || state.lengths.contains(&held.length.get());
        assert_eq!(state.held.iter().filter(is_listed).count(), state.held.len());
        assert!(state.lengths.len() <= 40, "{} lists", state.lengths.len());
    }
    holds.reconfigure(config());
    assert_eq!(holds.active(now + 10 * DAY), 0);
    let state = holds.lock();
    assert_eq!((state.held.len(), state.calls.len()), (0, 0));
}

#[test]
fn every_mistake_names_its_key() {
    assert_eq!(config().validate(), []);
    let wrong = Config { first: Duration::ZERO, longest: DAY, calls: 0, window: MINUTE };
    let keys = |config: Config| config.validate().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(wrong), ["first", "calls"]);
    assert_eq!(keys(Config { first: 2 * DAY, ..config() }), ["longest"]);
}

#[test]
fn other_settings_leave_those_who_are_held_where_they_are() {
    let (holds, now) = (holds(), Instant::now());
    assert_eq!(holds.hold(person(1), now), 10 * MINUTE);
    holds.reconfigure(Config { first: MINUTE, longest: MINUTE, ..config() });
    assert_eq!(holds.record_call(person(1), now + 5 * MINUTE), Err(5 * MINUTE));
    assert_eq!(holds.hold(person(2), now), MINUTE);
}
