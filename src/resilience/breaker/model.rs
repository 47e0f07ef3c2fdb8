//! Tests the breaker against a naive model that keeps every call forever and scans all of them to decide.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// The next event. Permits in flight are in a list; the `usize` picks one of them.
#[derive(Debug, Clone)]
enum Event {
    Pass(Duration),
    Acquire,
    Success(usize, Duration),
    Failure(usize, Option<Duration>),
    Drop(usize),
    Force(Option<Forced>),
}

fn event() -> impl Strategy<Value = Event> {
    let pick = any::<usize>();
    let latency = prop::sample::select(vec![Duration::from_millis(50), Duration::from_secs(3)]);
    let hint = prop::option::weighted(0.2, (0_u64..60).prop_map(Duration::from_secs));
    prop_oneof![
        10 => Just(Event::Acquire),
        3 => (0_u64..3_000).prop_map(|millis| Event::Pass(Duration::from_millis(millis))),
        1 => (0_u64..60).prop_map(|seconds| Event::Pass(Duration::from_secs(seconds))),
        4 => (pick, latency).prop_map(|(pick, latency)| Event::Success(pick, latency)),
        5 => (pick, hint).prop_map(|(pick, hint)| Event::Failure(pick, hint)),
        2 => pick.prop_map(Event::Drop),
        1 => prop::sample::select(vec![None, Some(Forced::Open), Some(Forced::Closed), None]).prop_map(Event::Force),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Good,
    Slow,
    Failed,
}

struct Flying {
    period: usize,
    since: Duration,
    permit: Permit,
}

/// Plain lists only. Times are relative to the start.
struct Model {
    config: Config,
    state: State,
    forced: Option<Forced>,
    /// Incremented on every change of state.
    period: usize,
    since: Duration,
    open_until: Duration,
    /// Times opened since the last stable period.
    rounds: u32,
    calls: Vec<(usize, Duration, Ended)>,
    passed: usize,
}

impl Model {
    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.period += 1;
        self.since = now;
        self.passed = 0;
    }

    fn calls_in_window(&self, now: Duration) -> Vec<Ended> {
        let width = self.config.window / 10;
        let began = self.since;
        let tenth = |at: Duration| (at - began).as_nanos() / width.as_nanos();
        let mine = self.calls.iter().filter(|(period, ..)| *period == self.period);
        mine.filter(|(_, at, _)| tenth(*at) + 10 > tenth(now)).map(|&(_, _, ended)| ended).collect()
    }

    fn failures_in_a_row(&self) -> usize {
        let mine = self.calls.iter().rev().take_while(|(period, ..)| *period == self.period);
        mine.take_while(|(_, _, ended)| *ended == Ended::Failed).count()
    }

    /// Records how a call ended. Returns whether that opens the breaker.
    fn end(&mut self, now: Duration, ended: Ended) -> bool {
        self.calls.push((self.period, now, ended));
        if self.state == State::HalfOpen {
            self.passed += usize::from(ended == Ended::Good);
            if ended == Ended::Good && self.passed >= self.config.successes_to_close as usize {
                self.enter(State::Closed, now);
            }
            return ended != Ended::Good;
        }
        let window = self.calls_in_window(now);
        let share = |what| window.iter().filter(|&&ended| ended == what).count() as f64 / window.len() as f64;
        let enough = window.len() >= self.config.minimum_calls as usize;
        self.forced.is_none()
            && match ended {
                Ended::Good => false,
                Ended::Slow => enough && share(Ended::Slow) >= self.config.slow_ratio,
                Ended::Failed => {
                    self.failures_in_a_row() >= self.config.consecutive_failures as usize
                        || enough && share(Ended::Failed) >= self.config.failure_ratio
                }
            }
    }

    /// Opens the model. `stay` is the time the breaker chose, which must be within the range that the rules allow.
    fn open(&mut self, now: Duration, stay: Duration, hint: Option<Duration>) {
        if self.state == State::Closed && now - self.since >= self.config.stable_after {
            self.rounds = 0;
        }
        let full = (self.config.open_for * 2_u32.pow(self.rounds.min(10))).min(self.config.open_max);
        let followed = Duration::from_secs(30) * 2_u32.pow(self.rounds.min(10));
        self.rounds += 1;
        let floor = hint.unwrap_or_default().min(followed).min(self.config.open_max);
        assert!(((full * 4 / 5).max(floor)..=full.max(floor)).contains(&stay), "{stay:?} of {full:?}, hint {hint:?}");
        self.open_until = now + stay;
        self.enter(State::Open, now);
    }

    fn admits(&self, now: Duration, flying: &[Flying]) -> bool {
        match self.state {
            State::Closed => true,
            State::Open => self.forced.is_none() && now >= self.open_until,
            State::HalfOpen => self.leases(now, flying) < self.config.probes as usize,
        }
    }

    fn leases(&self, now: Duration, flying: &[Flying]) -> usize {
        let probes = flying.iter().filter(|call| self.state == State::HalfOpen && call.period == self.period);
        probes.filter(|call| now - call.since < self.config.probe_lease).count()
    }

    fn force(&mut self, now: Duration, forced: Option<Forced>) {
        if self.forced == forced {
            return;
        }
        match (self.forced, forced) {
            (_, Some(Forced::Open)) => self.enter(State::Open, now),
            (_, Some(Forced::Closed)) => self.enter(State::Closed, now),
            (Some(Forced::Open), None) => self.enter(State::HalfOpen, now),
            (_, None) => {}
        }
        self.forced = forced;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_the_naive_model_does(
        events in prop::collection::vec(event(), 1..300),
        (probes, successes_to_close, minimum_calls) in (1_u32..4, 1_u32..3, 2_u32..12),
        seed in any::<u64>(),
    ) {
        let config = Config {
            probes,
            successes_to_close,
            minimum_calls,
            window: Duration::from_secs(10),
            stable_after: Duration::from_secs(20),
            open_max: Duration::from_secs(30),
            ..Config::default()
        };
        let start = Instant::now();
        let breaker = Breaker::new(Arc::new(config.clone()), seed, start, |_| {});
        let mut model = Model {
            config,
            state: State::Closed,
            forced: None,
            period: 0,
            since: Duration::ZERO,
            open_until: Duration::ZERO,
            rounds: 0,
            calls: Vec::new(),
            passed: 0,
        };
        let (mut time, mut flying) = (Duration::ZERO, Vec::<Flying>::new());

        for event in events {
            let now = start + time;
            let picked = |pick: usize, flying: &mut Vec<Flying>| {
                (!flying.is_empty()).then(|| flying.remove(pick % flying.len()))
            };
            match event {
                Event::Pass(by) => time += by,
                Event::Force(forced) => {
                    model.force(time, forced);
                    match forced {
                        None => breaker.clear_force(now),
                        Some(Forced::Open) => breaker.force_open(now),
                        Some(Forced::Closed) => breaker.force_closed(now),
                    }
                }
                Event::Acquire => {
                    let admitted = breaker.try_acquire(now).ok();
                    prop_assert_eq!(admitted.is_some(), model.admits(time, &flying));
                    if let Some(permit) = admitted {
                        if model.state == State::Open {
                            model.enter(State::HalfOpen, time);
                        }
                        flying.push(Flying { period: model.period, since: time, permit });
                    }
                }
                Event::Drop(pick) => drop(picked(pick, &mut flying)),
                Event::Success(pick, latency) => {
                    if let Some(call) = picked(pick, &mut flying) {
                        call.permit.success(now, latency);
                        let slow = latency >= model.config.slow_call;
                        let ended = if slow { Ended::Slow } else { Ended::Good };
                        if call.period == model.period && model.end(time, ended) {
                            model.open(time, breaker.next_admission(now).unwrap(), None);
                        }
                    }
                }
                Event::Failure(pick, hint) => {
                    if let Some(call) = picked(pick, &mut flying) {
                        call.permit.failure(now, hint);
                        if call.period == model.period && model.end(time, Ended::Failed) {
                            model.open(time, breaker.next_admission(now).unwrap(), hint);
                        }
                    }
                }
            }
            let seen = breaker.snapshot(start + time);
            prop_assert_eq!((seen.state, seen.forced), (model.state, model.forced));
            prop_assert_eq!(seen.next_admission == Some(Duration::ZERO), model.admits(time, &flying));
            prop_assert_eq!(seen.probes_out as usize, model.leases(time, &flying));
            if model.state == State::Closed {
                let window = model.calls_in_window(time);
                let count = |what| window.iter().filter(|&&ended| ended == what).count() as u32;
                let counts = Counts {
                    calls: window.len() as u32,
                    failed: count(Ended::Failed),
                    slow: count(Ended::Slow),
                };
                prop_assert_eq!(seen.counts, counts);
                prop_assert_eq!(seen.failures_in_a_row as usize, model.failures_in_a_row());
            }
        }
    }
}
