//! Looks at the clocks every second, so that a step is noticed while nothing is asked, and told.

use std::time::Duration;

use jiff::SignedDuration;
use prometheus::{Gauge, IntCounterVec, Opts, Registry};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Steps};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct ClockWatch {
    clock: Clock,
    steps: IntCounterVec,
    offset: Gauge,
    known: Steps,
}

impl ClockWatch {
    pub(super) fn new(clock: Clock, registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Steps of the wall clock by two seconds or more, against monotonic time.";
        let steps = IntCounterVec::new(Opts::new("idgate_clock_steps_total", help), &["direction"])?;
        let offset = Gauge::new(
            "idgate_clock_offset_seconds",
            "The wall clock minus the time that is believed, after a step that is not believed yet; otherwise 0.",
        )?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(offset.clone()))?;
        for direction in ["forward", "back"] {
            steps.with_label_values(&[direction]);
        }
        let known = Steps { forward: 0, back: 0, offset: SignedDuration::ZERO };
        Ok(Self { clock, steps, offset, known })
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let seen = self.clock.steps();
        let known = std::mem::replace(&mut self.known, seen);
        self.steps.with_label_values(&["forward"]).inc_by(seen.forward.saturating_sub(known.forward));
        self.steps.with_label_values(&["back"]).inc_by(seen.back.saturating_sub(known.back));
        self.offset.set(seen.offset.as_secs_f64());
        let (was_doubtful, is_doubtful) = (!known.offset.is_zero(), !seen.offset.is_zero());
        if (seen.forward, seen.back) != (known.forward, known.back) {
            tracing::warn!(
                offset_seconds = seen.offset.as_secs_f64(),
                forward = seen.forward,
                back = seen.back,
                "the wall clock has stepped; until the new time has held for an hour, or as long as the old one, \
                 budgets, daily limits and records go on with the old one"
            );
        } else if was_doubtful && !is_doubtful {
            tracing::warn!(now = %format!("{:.0}", self.clock.now()), "the time of the wall clock is believed now");
        }
    }
}

/// Time since the machine started, including the time that it was suspended.
pub(super) fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
