use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Arrears,
    Key,
}

fn account() -> (AccountSuspension<Why>, Instant) {
    (AccountSuspension::new(Config::default(), 7), Instant::now())
}

/// Time until the next admission, found by asking for one.
fn wait(account: &AccountSuspension<Why>, now: Instant) -> Duration {
    account.try_enter(now).err().map_or(Duration::ZERO, |refused| refused.retry_after)
}

#[test]
fn s21_one_fault_removes_the_provider_for_about_a_minute() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
    let refused = account.try_enter(now).err().unwrap();
    assert_eq!(refused.reason, Why::Arrears);
    assert!((MINUTE * 4 / 5..=MINUTE).contains(&refused.retry_after));
    assert!(account.try_enter(now + MINUTE).is_ok());
}

#[test]
fn a_burst_of_equal_faults_counts_once() {
    let (account, now) = account();
    let calls: Vec<_> = (0..50).map(|_| account.try_enter(now).unwrap()).collect();
    for call in calls {
        call.fault(now, Why::Key, None);
    }
    assert_eq!(account.snapshot(now).unwrap().faults, 1);
    assert!(wait(&account, now) <= MINUTE);
}

#[test]
fn each_failed_trial_doubles_the_interval_up_to_the_ceiling() {
    let (account, mut now) = account();
    for minutes in [1, 2, 4, 8, 16, 30, 30] {
        account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
        let interval = wait(&account, now);
        assert!((MINUTE * minutes * 4 / 5..=MINUTE * minutes).contains(&interval), "{minutes} min: {interval:?}");
        now += interval;
    }
    let seen = account.snapshot(now).unwrap();
    assert_eq!((seen.faults, seen.retry_after, seen.trial_out), (7, Duration::ZERO, false));
}

#[test]
fn exactly_one_of_a_thousand_callers_is_the_trial() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
    let passed = AtomicU32::new(0);
    std::thread::scope(|threads| {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                threads.spawn(|| (0..125).filter_map(|_| account.try_enter(now + MINUTE).ok()).collect::<Vec<_>>())
            })
            .collect();
        // Admissions are kept until all threads have asked, because dropping the trial would admit another.
        let admitted: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        passed.store(u32::try_from(admitted.iter().map(Vec::len).sum::<usize>()).unwrap(), Ordering::Relaxed);
        assert!(account.snapshot(now + MINUTE).unwrap().trial_out);
    });
    assert_eq!(passed.into_inner(), 1);
}

#[test]
fn a_dropped_trial_is_given_back_and_a_leaked_one_is_written_off() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
    let over = now + MINUTE;
    drop(account.try_enter(over).unwrap());
    std::mem::forget(account.try_enter(over).unwrap());
    assert_eq!(wait(&account, over), MINUTE);
    assert_eq!(wait(&account, over + MINUTE), Duration::ZERO);
}

#[test]
fn a_trial_that_is_served_brings_the_account_back_and_the_interval_starts_small_again() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
    account.try_enter(now + MINUTE).unwrap().fault(now + MINUTE, Why::Arrears, None);
    account.try_enter(now + 3 * MINUTE).unwrap().recovered();
    assert_eq!(account.snapshot(now + 3 * MINUTE), None);
    account.try_enter(now + 3 * MINUTE).unwrap().fault(now + 3 * MINUTE, Why::Key, None);
    assert!(wait(&account, now + 3 * MINUTE) <= MINUTE);
}

#[test]
fn calls_from_before_change_nothing_after() {
    let (account, now) = account();
    let (first, good, late) =
        (account.try_enter(now).unwrap(), account.try_enter(now).unwrap(), account.try_enter(now).unwrap());
    first.fault(now, Why::Arrears, None);
    good.recovered();
    assert!(account.snapshot(now).is_some());
    account.try_enter(now + MINUTE).unwrap().recovered();
    late.fault(now + MINUTE, Why::Arrears, None);
    assert_eq!(account.snapshot(now + MINUTE), None);
}

#[test]
fn a_written_off_trial_does_not_speak_for_the_one_that_went_after_it() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Arrears, None);
    let lost = account.try_enter(now + MINUTE).unwrap();
    let _trial = account.try_enter(now + 2 * MINUTE).unwrap();
    drop(lost);
    assert_eq!(wait(&account, now + 2 * MINUTE), MINUTE);
}

#[test]
fn the_operator_restores_at_once() {
    let (account, now) = account();
    account.try_enter(now).unwrap().fault(now, Why::Key, None);
    account.restore();
    assert_eq!(wait(&account, now), Duration::ZERO);
}

#[test]
fn what_the_other_side_asks_for_is_the_floor_and_the_ceiling_holds() {
    let short = Config { first: Duration::from_secs(1), max: MINUTE };
    let (account, mut now) = (AccountSuspension::new(short, 7), Instant::now());
    for (asked, wanted) in [(MINUTE / 3, MINUTE / 3), (MINUTE / 2, MINUTE / 2), (Duration::MAX, MINUTE)] {
        account.try_enter(now).unwrap().fault(now, Why::Arrears, Some(asked));
        assert_eq!(wait(&account, now), wanted);
        now += wanted;
    }
}

#[test]
fn the_configuration_is_read_and_checked() {
    let read: Config = serde_json::from_str(r#"{"first": "90s"}"#).unwrap();
    assert_eq!(read, Config { first: Duration::from_secs(90), ..Config::default() });
    assert_eq!(read.validate(), []);
    assert!(serde_json::from_str::<Config>(r#"{"frist": "90s"}"#).is_err());
    let keys = |first, max| Config { first, max }.validate().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(Duration::ZERO, MINUTE), ["first"]);
    assert_eq!(keys(MINUTE, Duration::from_secs(1)), ["max"]);
    assert_eq!(keys(MINUTE, Duration::MAX), ["max"]);
    assert_eq!(keys(Duration::MAX, Duration::MAX), ["first"]);
}
