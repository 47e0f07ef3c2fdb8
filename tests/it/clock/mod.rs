//! Steps of the wall clock, both ways, against a whole gateway: what is measured by the monotonic clock goes on, and what
//! is kept by the date returns with the date.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use idgate::domain::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::ledger::Folder;
use crate::support::{Builder, TIMELESS, TestGateway, anybody, eventually};

mod dates;
mod lifetimes;

/// The two clocks of a gateway, in the hands of a test.
#[derive(Clone)]
pub struct Hands {
    began: Timestamp,
    /// Seconds that have passed.
    passed: Arc<AtomicI64>,
    /// Seconds by which the wall clock is wrong.
    wrong: Arc<AtomicI64>,
}

impl Hands {
    /// A clock that has run rightly for a month.
    pub fn new(now: Timestamp) -> (Self, Clock) {
        const RAN: i64 = 30 * 86_400;
        let began = now - SignedDuration::from_secs(RAN);
        let hands = Self { began, passed: Arc::default(), wrong: Arc::default() };
        let (wall, monotonic) = (hands.clone(), hands.clone());
        let clock = Clock::watched(
            move || wall.wall(),
            move || Duration::from_secs(monotonic.passed.load(Ordering::SeqCst).unsigned_abs()),
        );
        hands.pass(RAN);
        (hands, clock)
    }

    pub fn wall(&self) -> Timestamp {
        let seconds = self.passed.load(Ordering::SeqCst) + self.wrong.load(Ordering::SeqCst);
        self.began + SignedDuration::from_secs(seconds)
    }

    pub fn pass(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the wall clock so many seconds off the right time.
    pub fn set(&self, wrong: i64) {
        self.wrong.store(wrong, Ordering::SeqCst);
    }
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Ten in the morning in China.
const MORNING: &str = "2026-11-25T02:00:00Z";

fn gateway(folder: &Folder, clock: &Clock) -> Builder {
    folder.gateway().chain(&[TIMELESS]).clock(clock.clone())
}

#[tokio::test]
async fn a_step_is_counted_and_told_with_how_far_the_clock_is_off() {
    let (hands, clock) = Hands::new(MORNING.parse().unwrap());
    let gateway = TestGateway::new().clock(clock).start().await;
    let steps = async |direction: &str| gateway.metric("idgate_clock_steps_total", &[("direction", direction)]).await;
    let offset = async || gateway.metric("idgate_clock_offset_seconds", &[]).await;
    assert_eq!((steps("forward").await, steps("back").await, offset().await), (0.0, 0.0, 0.0));
    hands.set(40 * DAY);
    eventually("the step is seen", async || steps("forward").await == 1.0 && offset().await == 3_456_000.0).await;
    hands.set(0);
    eventually("the return is seen", async || steps("back").await == 1.0 && offset().await == 0.0).await;
    hands.set(-HOUR);
    eventually("a step back is seen", async || steps("back").await == 2.0 && offset().await == -3600.0).await;
    hands.pass(HOUR);
    eventually("it is believed", async || offset().await == 0.0).await;
    assert_eq!((steps("forward").await, steps("back").await), (1.0, 2.0));
}
