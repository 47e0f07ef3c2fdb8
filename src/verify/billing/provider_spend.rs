//! The spending of one provider account, and its prepaid packages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::packages::{History, Package};
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

impl ProviderSpend {
    pub(super) fn prepaid(&self) -> MutexGuard<'_, Prepaid> {
        self.prepaid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
