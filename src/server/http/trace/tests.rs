//! Which requests are traced, and what their traces hold.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::civil::date;

use super::*;
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::money::Billed;
use crate::domain::name::Name;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::subject::PairRules;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Finished>>);

impl Sink for Kept {
    fn take(&self, finished: Finished) {
        self.0.lock().unwrap().push(finished);
    }
}

impl Kept {
    fn only(&self) -> Finished {
        let [finished] = &self.0.lock().unwrap()[..] else { panic!("one trace") };
        finished.clone()
    }
}

/// Ids like those of version 4, from a generator of its own.
fn chance() -> impl Fn() -> Uuid {
    let seed = AtomicU64::new(7);
    let next = move || {
        let next = |old: u64| old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old))).unwrap().rotate_left(32)
    };
    move || uuid::Builder::from_random_bytes(Uuid::from_u64_pair(next(), next()).into_bytes()).into_uuid()
}

fn head(traceparent: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), traceparent.parse().unwrap())])
}

fn tracer(ratio: f64) -> (Tracer, Arc<Kept>) {
    let kept = Arc::<Kept>::default();
    (Tracer::new(ratio, Arc::clone(&kept) as Arc<dyn Sink>), kept)
}

#[test]
fn the_caller_decides_and_otherwise_the_ratio() {
    let is_traced = |ratio, text: &str| tracer(ratio).0.begin(&head(text), Instant::now(), chance());
    assert!(
        Tracer::default().begin(&head(&format!("00-{TRACE}-00f067aa0ba902b7-01")), Instant::now(), chance()).is_none()
    );
    for (text, is_parent) in [
        (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
        (format!("00-{TRACE}-00f067aa0ba902b7-03"), true),
        (format!("cc-{TRACE}-00f067aa0ba902b7-01-more"), true),
        (format!("00-{TRACE}-00f067aa0ba902b7-01-more"), false),
        (format!("ff-{TRACE}-00f067aa0ba902b7-01"), false),
        (format!("00-{TRACE}-0000000000000000-01"), false),
        (format!("00-{TRACE}-00f067aa0ba902b7"), false),
        (format!("00-{TRACE}-00F067AA0BA902B7-01"), false),
        (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
        (format!("00-{TRACE}-00f067aa0ba902b7-0x"), false),
        // An ID number in a span id.
        (format!("00-{TRACE}-a110105491231002-01"), false),
        ("canary".to_owned(), false),
    ] {
        let never = is_traced(0.0, &text);
        assert_eq!(never.is_some(), is_parent, "{text}");
        let always = is_traced(1.0, &text).unwrap();
        assert_eq!((always.id() == TRACE, always.parent.is_some()), (is_parent, is_parent), "{text}");
    }
    assert!(is_traced(1.0, &format!("00-{TRACE}-00f067aa0ba902b7-00")).is_none(), "the caller says no");
    let (half, _) = tracer(0.5);
    let chance = chance();
    let traced = (0..2000).filter(|_| half.begin(&HeaderMap::new(), Instant::now(), &chance).is_some()).count();
    assert!((850..1150).contains(&traced), "{traced}");
}

#[test]
fn steps_have_their_times_and_what_is_not_told_is_left_out() {
    let (tracer, kept) = tracer(1.0);
    let began = Instant::now();
    let mut trace = tracer.begin(&HeaderMap::new(), began, chance()).unwrap();
    let ms = Duration::from_millis;
    trace.recalled(began + ms(1), Some(began + ms(2)), None);
    let plain = Attempt {
        provider: Arc::from("p"),
        endpoint: Arc::default(),
        outcome: Outcome::SkippedHold,
        reason: Reason::Unspecified,
        code: None,
        billed: Billed::No,
        duration: Duration::ZERO,
        began: None,
        retry_after: None,
    };
    let called = Attempt {
        endpoint: Arc::from("e"),
        outcome: Outcome::Timeout,
        reason: Reason::Trickle,
        billed: Billed::Unknown,
        duration: ms(5),
        began: Some(began + ms(3)),
        ..plain.clone()
    };
    trace.attempted(&[plain, called]);
    trace.written(Instant::now(), None);
    trace.end(Timestamp::UNIX_EPOCH, ms(10), StatusCode::BAD_GATEWAY, vec![(Key::Status, Value::Number(502))]);
    let Finished { parent, is_error, steps, .. } = kept.only();
    let times: Vec<_> = steps.iter().map(|span| (span.step, span.began, span.is_error)).take(3).collect();
    let expected = [(Step::Recall, ms(1), false), (Step::Attempt, ms(2), false), (Step::Attempt, ms(3), true)];
    assert_eq!((times, parent, is_error), (expected.to_vec(), None, true));
    let keys: Vec<_> =
        steps.iter().map(|span| span.attributes.iter().map(|(key, _)| *key).collect::<Vec<_>>()).collect();
    let called = vec![Key::Provider, Key::Outcome, Key::Billed, Key::Endpoint, Key::Reason];
    assert_eq!(keys, [vec![Key::Recall], vec![Key::Provider, Key::Outcome, Key::Billed], called, vec![Key::Written]]);
    assert_eq!(steps[3].attributes, [(Key::Written, Value::Word("failed"))]);
}

#[test]
fn ids_that_name_the_person_are_replaced() {
    let number = IdNumber::parse("11010519491231002X", date(2026, 11, 28), Calendar::Strict).unwrap();
    let subject = Subject::new(Name::parse("张三").unwrap(), number, PairRules::default()).unwrap();
    let (tracer, _) = tracer(1.0);
    // The old form of the number, in digits that are none by themselves.
    for (text, is_kept) in [
        (format!("00-{TRACE}-1110105491231002-01"), false),
        ("00-aaaaaaaaaaaaaaaa1110105491231002-00f067aa0ba902b7-01".to_owned(), false),
        (format!("00-{TRACE}-00f067aa0ba902b7-01"), true),
    ] {
        let mut trace = tracer.begin(&head(&text), Instant::now(), chance()).unwrap();
        let before = trace.trace;
        trace.is_about(&subject, chance());
        assert_eq!((trace.trace == before, trace.parent.is_some()), (is_kept, is_kept), "{text}");
    }
}
