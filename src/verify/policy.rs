//! Which providers are asked, in which order, and what follows a missing record or an unknown outcome.

use std::time::Duration;

use serde::Deserialize;

/// Section `[chain]`, and in part `[purposes.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In the order in which they are asked.
    pub order: Vec<String>,
    /// After a `no_record`.
    pub on_no_record: OnNoRecord,
    /// After a call that may have been billed and brought no verdict.
    pub on_unknown: OnUnknown,
    /// No attempt starts later than this after the first one.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub budget: Duration,
}

/// Section `[purposes.NAME]`: overrides `[chain]` for this purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Purpose {
    /// Replaces the whole list.
    pub order: Option<Vec<String>>,
    /// After a `no_record`.
    pub on_no_record: Option<OnNoRecord>,
    /// After a call whose outcome is unknown.
    pub on_unknown: Option<OnUnknown>,
    /// How urgent its questions are.
    pub priority: Priority,
}

/// How urgent the questions of a purpose are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Four times the client's weight.
    High,
    #[default]
    Normal,
    /// A quarter of the client's weight.
    Low,
}

/// Whether a missing record is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoRecord {
    /// The answer is `no_record`.
    Final,
    /// The next provider is asked to confirm it. That call is billed too.
    AskNext,
}

/// Whether another provider is asked after a call that may have been billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The next endpoint or provider is asked; both may bill.
    AskNext,
    /// Nobody else is asked; the caller can retry to get the late answer.
    Stop,
}

impl Priority {
    /// In quarters of the client's weight.
    pub(super) const fn factor(self) -> u32 {
        match self {
            Self::High => 16,
            Self::Normal => 4,
            Self::Low => 1,
        }
    }
}

impl Config {
    /// This policy with the overrides of `purpose`.
    pub fn adapted(&self, purpose: &Purpose) -> Self {
        Self {
            order: purpose.order.clone().unwrap_or_else(|| self.order.clone()),
            on_no_record: purpose.on_no_record.unwrap_or(self.on_no_record),
            on_unknown: purpose.on_unknown.unwrap_or(self.on_unknown),
            budget: self.budget,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_changes_what_it_names_and_nothing_else() {
        let chain = Config {
            order: vec!["a".to_owned(), "b".to_owned()],
            on_no_record: OnNoRecord::Final,
            on_unknown: OnUnknown::AskNext,
            budget: Duration::from_secs(8),
        };
        assert_eq!(chain.adapted(&Purpose::default()), chain);
        let own_order = Purpose { order: Some(vec!["b".to_owned()]), ..Purpose::default() };
        assert_eq!(chain.adapted(&own_order), Config { order: vec!["b".to_owned()], ..chain.clone() });
        let careful = Purpose { on_unknown: Some(OnUnknown::Stop), ..Purpose::default() };
        assert_eq!(chain.adapted(&careful), Config { on_unknown: OnUnknown::Stop, ..chain.clone() });
        let second = Purpose { on_no_record: Some(OnNoRecord::AskNext), ..Purpose::default() };
        assert_eq!(chain.adapted(&second), Config { on_no_record: OnNoRecord::AskNext, ..chain });
    }
}
