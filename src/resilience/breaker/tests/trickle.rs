//! A bounded trickle of calls through an open breaker.

use super::*;

#[test]
fn of_an_open_breaker_a_bounded_trickle_passes_while_some_calls_are_answered() {
    let mut bench = Bench::new(Config { trickle: 4, ..Config::default() });
    assert!(bench.breaker.try_trickle(bench.now).is_none(), "closed: nothing to trickle through");
    for _ in 0..5 {
        bench.succeed();
    }
    for _ in 0..5 {
        bench.fail();
    }
    assert_eq!((bench.state(), bench.breaker.failed_share(bench.now)), (State::Open, Some(0.5)));
    let mut passed = 0;
    for _ in 0..100 {
        if let Some(permit) = bench.breaker.try_trickle(bench.now) {
            permit.success(bench.now, FAST);
            passed += 1;
        }
        bench.now += SECOND / 100;
    }
    assert_eq!((passed, bench.state()), (100, State::Open), "answers earn more, and only a probe closes it");
    let share = bench.breaker.failed_share(bench.now);
    assert_eq!(share, Some(5.0 / 110.0), "their answers count for what is least bad");
    let dead = (0..100).filter(|_| {
        bench.now += SECOND / 100;
        bench.breaker.try_trickle(bench.now).map(|permit| permit.failure(bench.now, None)).is_some()
    });
    assert_eq!(dead.count(), 4 + 4, "what was earned, and four a second");
    bench.now += MINUTE * 2;
    assert!(bench.breaker.try_trickle(bench.now).is_none(), "nothing is known of it any more");
}

#[test]
fn nothing_trickles_to_an_endpoint_that_answers_nothing_or_is_forced_open_or_where_it_is_off() {
    let bench = Bench::open(Config::default());
    assert!(bench.breaker.try_trickle(bench.now).is_none());
    for trickle in [0, 1] {
        let bench = Bench::new(Config { trickle, ..Config::default() });
        bench.succeed();
        bench.breaker.force_open(bench.now);
        assert!(bench.breaker.try_trickle(bench.now).is_none());
        bench.breaker.clear_force(bench.now);
        assert_eq!(bench.breaker.try_trickle(bench.now).is_some(), trickle == 1);
    }
}

#[test]
fn a_trickle_is_no_probe() {
    let mut bench = Bench::new(Config::default());
    bench.succeed();
    for _ in 0..5 {
        bench.fail();
    }
    bench.now += bench.wait().unwrap();
    let probe = bench.permit();
    bench.breaker.try_trickle(bench.now).unwrap().success(bench.now, FAST);
    bench.now += SECOND;
    bench.breaker.try_trickle(bench.now).unwrap().failure(bench.now, None);
    assert_eq!((bench.state(), bench.snapshot().probes_out), (State::HalfOpen, 1));
    probe.success(bench.now, FAST);
    assert_eq!(bench.state(), State::Closed);
}

/// The share of 3,600 calls in a minute that an endpoint answers which fails the share `failures` of those it gets.
fn answered_in_a_storm(failures: f64) -> f64 {
    let mut bench = Bench::new(Config::default());
    let mut chance = fastrand::Rng::with_seed(13);
    let mut answered = 0;
    for _ in 0..3600 {
        bench.now += SECOND / 60;
        let Some(permit) = bench.breaker.try_acquire(bench.now).ok().or_else(|| bench.breaker.try_trickle(bench.now))
        else {
            continue;
        };
        if chance.f64() < failures {
            permit.failure(bench.now, None);
        } else {
            permit.success(bench.now, FAST);
            answered += 1;
        }
    }
    f64::from(answered) / 3600.0
}

#[test]
fn in_a_fault_storm_service_degrades_with_the_endpoint_instead_of_stopping() {
    let shares = [0.6, 0.9, 1.0].map(answered_in_a_storm);
    assert!(shares[0] > 0.37, "of 60 % failures: {shares:?}");
    assert!(shares[1] > 0.005 && shares[1] < 0.05, "below a quarter only the configured trickle: {shares:?}");
    assert!(shares[2] == 0.0, "{shares:?}");
}
