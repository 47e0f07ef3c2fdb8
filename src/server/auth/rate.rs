//! Limits the request rate of one client.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::server::http::rate_limit::{Allowance, Policy};
use crate::storage::shared::ClientShare;

pub(in crate::server) struct Rate {
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    clock: DefaultClock,
    per_second: NonZeroU32,
    burst: NonZeroU32,
    policy: Policy,
}

impl Rate {
    pub(in crate::server) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let limiter = RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)).with_middleware();
        let policy = Policy::new(burst.get(), burst.get().div_ceil(per_second.get()));
        Self { limiter, clock: DefaultClock::default(), per_second, burst, policy }
    }

    /// Whether the limiter has these settings.
    pub(in crate::server) fn is(&self, per_second: NonZeroU32, burst: NonZeroU32) -> bool {
        self.per_second == per_second && self.burst == burst
    }

    /// Requests a second, and at once.
    pub(in crate::server) fn limits(&self) -> (u32, u32) {
        (self.per_second.get(), self.burst.get())
    }

    /// Counts a request. Returns the remaining allowance, or as an error how long to wait.
    pub(in crate::server) fn admit(&self) -> Result<Allowance, (Allowance, Duration)> {
        match self.limiter.check() {
            Ok(state) => Ok(self.allowance(state.remaining_burst_capacity())),
            Err(early) => Err((self.allowance(0), early.wait_time_from(self.clock.now()))),
        }
    }

    /// Like [`Self::admit`], of all replicas together.
    pub(in crate::server) fn admit_shared(&self, share: &ClientShare) -> Result<Allowance, (Allowance, Duration)> {
        let admitted = share.admit(self.per_second, self.burst);
        admitted.map(|remaining| self.allowance(remaining)).map_err(|wait| (self.allowance(0), wait))
    }

    fn allowance(&self, remaining: u32) -> Allowance {
        let used = self.burst.get().saturating_sub(remaining);
        Allowance::new(remaining, used.div_ceil(self.per_second.get()), &self.policy)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({}/s, {} at once)", self.per_second, self.burst)
    }
}
