//! The spending of one provider account, and its prepaid packages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;

use super::packages::{History, Package, next_price};
use crate::domain::money::MicroYuan;
use crate::resilience::spending::Spending;

#[derive(Debug)]
pub(in crate::verify) struct ProviderSpend {
    pub(super) spending: Arc<Spending>,
    pub(super) prepaid: Mutex<Prepaid>,
}

#[derive(Debug, Default)]
pub(super) struct Prepaid {
    pub(super) packages: Vec<Package>,
    pub(super) history: History,
}

impl Prepaid {
    /// Counts a billed call. Returns its price if a package with a price covers it.
    pub(super) fn take(&mut self, day: Date) -> Option<MicroYuan> {
        let price = next_price(&self.packages, &self.history, day);
        self.history.billed(day, 1);
        price
    }
}

impl ProviderSpend {
    pub(super) fn prepaid(&self) -> MutexGuard<'_, Prepaid> {
        self.prepaid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
