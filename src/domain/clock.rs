//! Time and randomness as parameters, so that tests control them and signatures are reproducible.
//!
//! Only `app` creates these from the real sources; `.clippy.toml` forbids the shortcuts elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, civil::Date, tz::Offset};
use uuid::Uuid;

/// China has one civil time, eight hours ahead of UTC, without daylight saving.
const CHINA: Offset = Offset::constant(8);

/// Wall-clock time. Durations are measured with monotonic instants instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that calls `now` each time.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that never advances, for tests.
    pub fn fixed(at: Timestamp) -> Self {
        Self::new(move || at)
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// Today's date in China (UTC+8), used to judge ages and birth dates.
    pub fn today_in_china(&self) -> Date {
        date_in_china(self.now())
    }

    /// Time until the next day begins in China.
    pub fn until_tomorrow_in_china(&self) -> Duration {
        let now = self.now();
        let begins = date_in_china(now).tomorrow().ok().and_then(start_in_china);
        // The last representable day has no tomorrow.
        begins.and_then(|begins| Duration::try_from(begins.duration_since(now)).ok()).unwrap_or_default()
    }

    /// Time until the next month begins in China.
    pub fn until_next_month_in_china(&self) -> Duration {
        let now = self.now();
        let next = date_in_china(now).last_of_month().tomorrow().ok();
        let begins = next.and_then(start_in_china);
        begins.and_then(|begins| Duration::try_from(begins.duration_since(now)).ok()).unwrap_or_default()
    }
}

/// When `date` begins in China, if representable.
pub fn start_in_china(date: Date) -> Option<Timestamp> {
    CHINA.to_timestamp(date.at(0, 0, 0, 0)).ok()
}

pub fn date_in_china(at: Timestamp) -> Date {
    CHINA.to_datetime(at).date()
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Generates identifiers: nonces (random, version 4) and verification ids (time-ordered, version 7).
#[derive(Clone)]
pub struct Ids {
    nonce: Arc<dyn Fn() -> Uuid + Send + Sync>,
    ordered: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl Ids {
    /// `nonce` must be unpredictable, `ordered` sortable by time.
    pub fn new(
        nonce: impl Fn() -> Uuid + Send + Sync + 'static,
        ordered: impl Fn() -> Uuid + Send + Sync + 'static,
    ) -> Self {
        Self { nonce: Arc::new(nonce), ordered: Arc::new(ordered) }
    }

    /// A fresh nonce; never repeats.
    pub fn nonce(&self) -> Uuid {
        (self.nonce)()
    }

    /// A fresh identifier that sorts by creation time.
    pub fn ordered(&self) -> Uuid {
        (self.ordered)()
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_china_begins_at_sixteen_hours_utc() -> Result<(), jiff::Error> {
        let before = Clock::fixed("2026-11-21T15:59:59Z".parse()?);
        let after = Clock::fixed("2026-11-21T16:00:00Z".parse()?);
        assert_eq!(before.today_in_china(), jiff::civil::date(2026, 11, 21));
        assert_eq!(after.today_in_china(), jiff::civil::date(2026, 11, 22));
        assert_eq!(before.until_tomorrow_in_china(), Duration::from_secs(1));
        assert_eq!(after.until_tomorrow_in_china(), Duration::from_secs(24 * 60 * 60));
        assert_eq!(after.until_next_month_in_china(), Duration::from_secs(9 * 24 * 60 * 60));
        let last = Clock::fixed("2026-11-30T15:59:00Z".parse()?);
        assert_eq!(last.until_next_month_in_china(), Duration::from_secs(60));
        Ok(())
    }
}
