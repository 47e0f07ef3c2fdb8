//! Reads past spending from the ledger: at startup, and again when a new configuration needs older package history.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::{Span, Timestamp};

use super::packages::History;
use crate::domain::clock::{Clock, date_in_china, start_in_china};
use crate::domain::outcome::Reason;
use crate::storage::ledger::{Ledger, ReadError, Spent};
use crate::verify::config::Config;

/// Spending before this process started.
#[derive(Debug)]
pub struct Opening {
    pub(super) spent: Vec<Spent>,
    pub(super) histories: HashMap<String, History>,
    pub(super) since: Date,
    /// Whether it was read.
    pub(super) is_known: bool,
}

impl Opening {
    /// Reads this month's spending, and package history as far back as `config` needs.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn read(ledger: &Ledger, config: &Config, clock: &Clock) -> Result<Self, ReadError> {
        let today = clock.believed_date_in_china();
        let since = reach(config, today);
        let spent = ledger.spent(ms(today.first_of_month()), ms(today)).await?;
        Ok(Self { spent, histories: histories(ledger, ms(since), i64::MAX).await?, since, is_known: true })
    }

    /// The record cannot be read now: [`super::Billing::refill`] does it later.
    pub fn unknown(config: &Config, clock: &Clock) -> Self {
        let since = reach(config, clock.believed_date_in_china());
        Self { spent: Vec::new(), histories: HashMap::new(), since, is_known: false }
    }
}

/// The first day of history that the packages of `config` need: the earliest purchase, or a week before `today` for the
/// average, whichever is earlier. Without packages it is `today`.
pub(super) fn reach(config: &Config, today: Date) -> Date {
    let bought = config.providers.iter().flat_map(|one| &one.packages).map(|package| package.bought).min();
    bought.map_or(today, |bought| bought.min(today.saturating_sub(Span::new().days(7))))
}

pub(super) async fn histories(
    ledger: &Ledger,
    from_ms: i64,
    until_ms: i64,
) -> Result<HashMap<String, History>, ReadError> {
    let mut histories = HashMap::<String, History>::new();
    let each = |call: crate::storage::ledger::Counted<'_>| {
        let Ok(at) = Timestamp::from_millisecond(call.at_ms) else { return };
        if !histories.contains_key(call.provider) {
            histories.insert(call.provider.to_owned(), History::default());
        }
        let (Some(history), day) = (histories.get_mut(call.provider), date_in_china(at)) else { return };
        if call.is_billed { history.billed(day, call.calls) } else { history.used_up(day) }
    };
    ledger.counted((from_ms, until_ms), Reason::QuotaUsedUp.as_str(), each).await?;
    Ok(histories)
}

/// The start of `day` in China, in milliseconds since the Unix epoch.
pub(super) fn ms(day: Date) -> i64 {
    start_in_china(day).map_or(0, Timestamp::as_millisecond)
}
