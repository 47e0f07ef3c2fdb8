use std::sync::Barrier;

use super::*;

mod trickle;

const FAST: Duration = Duration::from_millis(80);
const SLOW: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

struct Bench {
    breaker: Breaker,
    now: Instant,
    told: Arc<Mutex<Vec<Transition>>>,
}

impl Bench {
    fn new(config: Config) -> Self {
        assert_eq!(config.validate(), []);
        let told = Arc::new(Mutex::new(Vec::new()));
        let (now, hears) = (Instant::now(), Arc::clone(&told));
        let observer = move |transition| hears.lock().unwrap().push(transition);
        Self { breaker: Breaker::new(Arc::new(config), 7, now, observer), now, told }
    }

    /// Opened by five failures.
    fn open(config: Config) -> Self {
        let bench = Self::new(config);
        for _ in 0..5 {
            bench.fail();
        }
        assert_eq!(bench.state(), State::Open);
        bench
    }

    /// Opened, and the open time is up.
    fn probing(config: Config) -> Self {
        let mut bench = Self::open(config);
        bench.now += bench.wait().unwrap();
        bench
    }

    fn permit(&self) -> Permit {
        self.breaker.try_acquire(self.now).unwrap()
    }

    fn succeed(&self) {
        self.permit().success(self.now, FAST);
    }

    fn fail(&self) {
        self.permit().failure(self.now, None);
    }

    fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot(self.now)
    }

    fn state(&self) -> State {
        self.snapshot().state
    }

    fn wait(&self) -> Option<Duration> {
        self.breaker.next_admission(self.now)
    }

    fn reasons(&self) -> Vec<Reason> {
        self.told.lock().unwrap().iter().map(|transition| transition.reason).collect()
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let bench = Bench::new(Config::default());
    for _ in 0..4 {
        bench.fail();
    }
    bench.succeed();
    for _ in 0..4 {
        bench.fail();
    }
    assert_eq!((bench.state(), bench.snapshot().failures_in_a_row), (State::Closed, 4));
    bench.fail();
    let seen = bench.snapshot();
    assert_eq!((seen.state, seen.reason), (State::Open, Some(Reason::ConsecutiveFailures)));
    assert_eq!(seen.counts, Counts { calls: 10, failed: 9, slow: 0 });
    let refused = bench.breaker.try_acquire(bench.now).err().unwrap();
    assert_eq!(refused.retry_after, seen.next_admission);
    assert!((SECOND * 4..=SECOND * 5).contains(&refused.retry_after.unwrap()));
}

#[test]
fn s17_five_failures_open_it_even_at_one_call_a_minute() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..4 {
        bench.fail();
        bench.now += MINUTE;
    }
    assert_eq!(bench.state(), State::Closed);
    bench.fail();
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn s18_one_failure_after_a_quiet_time_is_no_ratio() {
    let mut bench = Bench::new(Config::default());
    for _ in 0..100 {
        bench.succeed();
    }
    bench.now += MINUTE * 60;
    bench.fail();
    assert_eq!(bench.snapshot().counts, Counts { calls: 1, failed: 1, slow: 0 });
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn half_of_twenty_fresh_calls_failing_opens_it() {
    let bench = Bench::new(Config::default());
    for _ in 0..9 {
        bench.succeed();
        bench.fail();
    }
    bench.succeed();
    assert_eq!(bench.state(), State::Closed);
    bench.fail();
    assert_eq!((bench.state(), bench.snapshot().reason), (State::Open, Some(Reason::FailureRatio)));
}

#[test]
fn too_many_slow_answers_open_it() {
    let bench = Bench::new(Config::default());
    for _ in 0..4 {
        bench.succeed();
    }
    for _ in 0..16 {
        assert_eq!(bench.state(), State::Closed);
        bench.permit().success(bench.now, SLOW);
    }
    assert_eq!((bench.state(), bench.snapshot().reason), (State::Open, Some(Reason::SlowRatio)));
}

#[test]
fn s16_callers_who_leave_count_for_nothing() {
    let bench = Bench::new(Config::default());
    for _ in 0..1000 {
        drop(bench.permit());
        bench.permit().neutral();
    }
    assert_eq!((bench.state(), bench.snapshot().counts), (State::Closed, Counts::default()));
}

#[test]
fn s14_a_neutral_probe_does_not_wedge_half_open() {
    for ending in ["success", "slow", "failure", "neutral", "drop", "panic", "leak"] {
        let mut bench = Bench::probing(Config::default());
        let (probe, now) = (bench.permit(), bench.now);
        assert!(bench.breaker.try_acquire(now).is_err());
        match ending {
            "success" => probe.success(now, FAST),
            "slow" => probe.success(now, SLOW),
            "failure" => probe.failure(now, None),
            "neutral" => probe.neutral(),
            "drop" => drop(probe),
            "panic" => {
                let call = std::thread::spawn(move || {
                    let _probe = probe;
                    panic!("synthetic");
                });
                assert!(call.join().is_err());
            }
            _ => {
                std::mem::forget(probe);
                bench.now += Config::default().probe_lease;
            }
        }
        bench.now += bench.wait().unwrap();
        bench.succeed();
        assert_eq!(bench.state(), State::Closed, "{ending}");
    }
}

#[test]
fn s15_of_a_thousand_callers_exactly_as_many_pass_as_there_are_probes() {
    for probes in [1, 3] {
        let bench = Bench::probing(Config { probes, successes_to_close: probes, ..Config::default() });
        let start = Barrier::new(8);
        let admitted: Vec<Permit> = std::thread::scope(|threads| {
            let call = || {
                start.wait();
                (0..125).filter_map(|_| bench.breaker.try_acquire(bench.now).ok()).collect::<Vec<_>>()
            };
            let callers: Vec<_> = (0..8).map(|_| threads.spawn(call)).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!((admitted.len(), bench.snapshot().probes_out), (probes as usize, probes));
        drop(admitted);
        assert_eq!((bench.state(), bench.snapshot().probes_out), (State::HalfOpen, 0));
    }
}

#[test]
fn callers_who_leave_and_return_never_make_more_probes_than_allowed() {
    let bench = Bench::probing(Config { probes: 2, ..Config::default() });
    let (out, most) = (Mutex::new(0), Mutex::new(0));
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..500 {
                    let Ok(probe) = bench.breaker.try_acquire(bench.now) else { continue };
                    let running = {
                        let mut out = out.lock().unwrap();
                        *out += 1;
                        *out
                    };
                    let mut most = most.lock().unwrap();
                    *most = running.max(*most);
                    *out.lock().unwrap() -= 1;
                    drop(probe);
                }
            });
        }
    });
    assert!((1..=2).contains(&most.into_inner().unwrap()));
}

#[test]
fn a_failed_probe_doubles_the_open_time_and_a_stable_time_halves_it_all() {
    let mut bench = Bench::open(Config::default());
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        let stay = bench.wait().unwrap();
        assert!((SECOND * seconds * 4 / 5..=SECOND * seconds).contains(&stay), "{seconds} s: {stay:?}");
        bench.now += stay;
        bench.fail();
        assert_eq!(bench.snapshot().reason, Some(Reason::ProbeFailed));
    }
    for (stable, longest) in [(4 * MINUTE, 5 * MINUTE), (5 * MINUTE, 5 * SECOND)] {
        bench.now += bench.wait().unwrap();
        bench.succeed();
        bench.now += stable;
        for _ in 0..5 {
            bench.fail();
        }
        assert!((longest * 4 / 5..=longest).contains(&bench.wait().unwrap()), "stable for {stable:?}");
    }
}

#[test]
fn what_the_other_side_asks_for_is_the_floor_and_a_first_absurd_hint_is_cut() {
    for (asked, stays) in [(SECOND * 20, SECOND * 20), (Duration::MAX, SECOND * 30)] {
        let bench = Bench::new(Config { consecutive_failures: 1, ..Config::default() });
        bench.permit().failure(bench.now, Some(asked));
        assert_eq!(bench.wait(), Some(stays));
    }
}

#[test]
fn several_good_probes_can_be_asked_for() {
    let bench = Bench::probing(Config { successes_to_close: 3, ..Config::default() });
    for _ in 0..3 {
        assert_ne!(bench.state(), State::Closed);
        bench.succeed();
    }
    assert_eq!((bench.state(), bench.snapshot().counts), (State::Closed, Counts::default()));
}

#[test]
fn a_late_result_of_an_earlier_state_is_ignored() {
    let mut bench = Bench::new(Config::default());
    let late: Vec<_> = (0..6).map(|_| bench.permit()).collect();
    for _ in 0..5 {
        bench.fail();
    }
    bench.now += SECOND * 5;
    let probe = bench.permit();
    let mut late = late.into_iter();
    late.next().unwrap().failure(bench.now, None);
    late.next().unwrap().success(bench.now, FAST);
    drop(late.next());
    assert_eq!((bench.state(), bench.snapshot().probes_out), (State::HalfOpen, 1));
    probe.success(bench.now, FAST);
    late.for_each(|permit| permit.failure(bench.now, None));
    assert_eq!((bench.state(), bench.snapshot().failures_in_a_row), (State::Closed, 0));
}

#[test]
fn a_probe_heard_of_after_its_lease_still_counts_and_makes_no_room_twice() {
    let mut bench = Bench::probing(Config::default());
    let late = bench.permit();
    assert_eq!(bench.wait(), Some(SECOND * 5), "a guess, not the whole lease");
    bench.now += SECOND * 18;
    assert_eq!(bench.wait(), Some(SECOND * 2));
    bench.now += SECOND * 2;
    let _probe = bench.permit();
    late.neutral();
    assert!(bench.breaker.try_acquire(bench.now).is_err());

    let mut bench = Bench::probing(Config::default());
    let late = bench.permit();
    bench.now += SECOND * 30;
    let _probe = bench.permit();
    late.success(bench.now, FAST);
    assert_eq!(bench.state(), State::Closed);
}

#[test]
fn an_operator_keeps_it_open_for_as_long_as_it_takes() {
    let mut bench = Bench::new(Config::default());
    let running = bench.permit();
    bench.breaker.force_open(bench.now);
    running.success(bench.now, FAST);
    bench.now += MINUTE * 60 * 24 * 365;
    assert_eq!(bench.breaker.try_acquire(bench.now).err(), Some(Refused { retry_after: None }));
    let seen = bench.snapshot();
    assert_eq!((seen.state, seen.forced, seen.reason), (State::Open, Some(Forced::Open), Some(Reason::Forced)));

    bench.breaker.clear_force(bench.now);
    assert_eq!((bench.state(), bench.snapshot().forced), (State::HalfOpen, None));
    bench.fail();
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn an_operator_keeps_it_closed_whatever_fails_and_it_remembers() {
    let bench = Bench::open(Config::default());
    bench.breaker.force_closed(bench.now);
    for _ in 0..100 {
        bench.fail();
    }
    let seen = bench.snapshot();
    assert_eq!((seen.state, seen.forced, seen.counts.failed), (State::Closed, Some(Forced::Closed), 100));
    bench.breaker.clear_force(bench.now);
    assert_eq!(bench.state(), State::Closed);
    bench.fail();
    assert_eq!(bench.state(), State::Open);
    bench.breaker.clear_force(bench.now);
    assert_eq!(bench.state(), State::Open, "there was nothing to clear");
}

#[test]
fn every_change_of_state_is_told_once_with_its_reason() {
    let mut bench = Bench::probing(Config::default());
    bench.fail();
    bench.now += bench.wait().unwrap();
    bench.succeed();
    bench.breaker.force_open(bench.now);
    bench.breaker.force_open(bench.now);
    bench.breaker.clear_force(bench.now);
    bench.breaker.force_closed(bench.now);
    let expected = [
        Reason::ConsecutiveFailures,
        Reason::TimeOver,
        Reason::ProbeFailed,
        Reason::TimeOver,
        Reason::ProbesPassed,
        Reason::Forced,
        Reason::Forced,
        Reason::Forced,
    ];
    assert_eq!(bench.reasons(), expected);
    let told = bench.told.lock().unwrap();
    assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from));
    assert!(told.iter().all(|transition| Reason::ALL.contains(&(transition.to, transition.reason))));
}

#[test]
fn the_observer_is_called_outside_the_lock() {
    let breaker = Arc::new(std::sync::OnceLock::<Breaker>::new());
    let (itself, now) = (Arc::clone(&breaker), Instant::now());
    let seen = Arc::new(Mutex::new(None));
    let sees = Arc::clone(&seen);
    let observer = move |_| *sees.lock().unwrap() = itself.get().map(|breaker| breaker.snapshot(now).state);
    let made = Breaker::new(Arc::new(Config::default()), 7, now, observer);
    breaker.set(made.clone()).unwrap();
    made.force_open(now);
    assert_eq!(*seen.lock().unwrap(), Some(State::Open));
}

#[test]
fn a_reload_changes_the_thresholds_and_keeps_what_was_learnt() {
    let bench = Bench::new(Config::default());
    bench.fail();
    bench.fail();
    let stricter = Config { consecutive_failures: 3, ..Config::default() };
    bench.breaker.reconfigure(bench.now, Arc::new(stricter.clone()));
    assert_eq!(bench.snapshot().counts.failed, 2);
    bench.breaker.reconfigure(bench.now, Arc::new(Config { window: MINUTE * 2, ..stricter }));
    assert_eq!((bench.snapshot().counts.failed, bench.snapshot().failures_in_a_row), (0, 2));
    bench.fail();
    assert_eq!(bench.state(), State::Open);
}

#[test]
fn a_clock_that_runs_back_harms_nothing() {
    let mut bench = Bench::open(Config::default());
    let stay = bench.wait();
    bench.now = bench.now.checked_sub(SECOND).unwrap_or(bench.now);
    assert_eq!(bench.wait(), stay);
    assert!(bench.breaker.try_acquire(bench.now).is_err());
}
