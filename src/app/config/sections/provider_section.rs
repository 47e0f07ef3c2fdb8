//! `[providers.NAME]` as it is written: the keys that every provider has.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;

use crate::verify::billing::{Budget, Package};
use crate::verify::outbound::settings::{Family, IDLE_TIMEOUT, Roots};

/// The maximum of `call_limit`.
const LONGEST_CALL: Duration = Duration::from_hours(1);

/// The common part of `[providers.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::app::config) struct Section {
    pub(in crate::app::config) driver: Option<String>,
    pub(in crate::app::config) endpoints: Vec<String>,
    #[serde(with = "friendly")]
    pub(in crate::app::config) connect_timeout: Duration,
    #[serde(with = "friendly")]
    pub(in crate::app::config) attempt_timeout: Duration,
    #[serde(with = "friendly")]
    pub(in crate::app::config) call_limit: Duration,
    pub(in crate::app::config) max_concurrency: usize,
    pub(in crate::app::config) rate_limit: NonZeroU32,
    pub(in crate::app::config) price_yuan: Option<PriceYuan>,
    pub(in crate::app::config) budget: Option<Budget>,
    pub(in crate::app::config) packages: Vec<Package>,
    pub(in crate::app::config) ca_file: Option<PathBuf>,
    pub(in crate::app::config) roots: Roots,
    pub(in crate::app::config) pinned_sha256: Option<Vec<String>>,
    pub(in crate::app::config) proxy: Option<String>,
    pub(in crate::app::config) ip: Family,
    #[serde(with = "friendly")]
    pub(in crate::app::config) idle_timeout: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::app::config) struct PriceYuan {
    pub(in crate::app::config) r#match: String,
    pub(in crate::app::config) mismatch: String,
    pub(in crate::app::config) no_record: String,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            driver: None,
            endpoints: Vec::new(),
            connect_timeout: Duration::from_secs(1),
            attempt_timeout: Duration::from_secs(3),
            call_limit: Duration::from_secs(15),
            max_concurrency: 64,
            rate_limit: const { NonZeroU32::new(50).expect("fifty is not zero") },
            price_yuan: None,
            budget: None,
            packages: Vec::new(),
            ca_file: None,
            roots: Roots::default(),
            pinned_sha256: None,
            proxy: None,
            ip: Family::default(),
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

impl Section {
    pub(in crate::app::config) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.connect_timeout.is_zero() || self.connect_timeout > self.attempt_timeout {
            mistakes.push(("connect_timeout", "must be above zero and at most attempt_timeout".to_owned()));
        }
        if self.attempt_timeout > self.call_limit {
            mistakes.push(("attempt_timeout", "must be at most call_limit".to_owned()));
        }
        if self.call_limit > LONGEST_CALL {
            mistakes.push(("call_limit", "is longer than an hour; write \"15s\"".to_owned()));
        }
        if self.max_concurrency == 0 {
            mistakes.push(("max_concurrency", "is 0, so no call could be made; write 64".to_owned()));
        }
        mistakes
    }

    /// The key that needs the ledger to count calls, if any.
    pub(in crate::app::config) fn counts_money(&self) -> Option<&'static str> {
        if self.budget.is_some() { Some("budget") } else { (!self.packages.is_empty()).then_some("packages") }
    }

    pub(in crate::app::config) fn packages(&self) -> &[Package] {
        &self.packages
    }

    pub(in crate::app::config) fn call_limit(&self) -> Duration {
        self.call_limit
    }
}
