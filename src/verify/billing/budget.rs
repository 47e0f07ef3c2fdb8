//! Configured budgets, of a client or of a provider.

use std::num::NonZeroU64;

use serde::Deserialize;

use crate::domain::money::MicroYuan;
use crate::resilience::spending::{Limit, Limits};

/// Section `[clients.NAME.budget]` or `[providers.NAME.budget]`. Days and months are in China time (UTC+8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Counts calls that return a verdict or may be billed.
    calls_per_day: Option<NonZeroU64>,
    calls_per_month: Option<NonZeroU64>,
    /// The cost in decimal yuan. A call that may have been billed counts at the maximum price.
    yuan_per_day: Option<String>,
    yuan_per_month: Option<String>,
}

impl Budget {
    /// Returns the limits, in calls and in millionths of a yuan.
    ///
    /// # Errors
    /// Every mistake as (key, what is wrong and what to write instead).
    pub fn limits(&self) -> Result<Limits, Vec<(&'static str, String)>> {
        let mut mistakes = Vec::new();
        let mut amount = |key: &'static str, text: &Option<String>| {
            let amount = MicroYuan::parse(text.as_ref()?).filter(|amount| amount.0 > 0);
            if amount.is_none() {
                mistakes.push((key, "is no amount in yuan above zero; write for example \"1500.00\"".to_owned()));
            }
            amount.map(|MicroYuan(amount)| amount)
        };
        let (day, month) = (amount("yuan_per_day", &self.yuan_per_day), amount("yuan_per_month", &self.yuan_per_month));
        let calls = |calls: Option<NonZeroU64>| calls.map(NonZeroU64::get);
        let limits = Limits {
            day: Limit { calls: calls(self.calls_per_day), amount: day },
            month: Limit { calls: calls(self.calls_per_month), amount: month },
        };
        if mistakes.is_empty() { Ok(limits) } else { Err(mistakes) }
    }
}
