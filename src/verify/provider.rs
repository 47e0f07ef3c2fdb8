//! One provider of the chain: its account, and a link for each of its endpoints.

use std::sync::Arc;

use super::account::Account;
use super::link::{Ask, Link, Tried};
use super::question::Attempt;
use crate::domain::money::Billed;
use crate::domain::outcome::Outcome;

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) account: Arc<Account>,
    pub(super) links: Vec<Link>,
}

impl Provider {
    /// One attempt at the endpoint with this index.
    pub(super) async fn attempt(&self, index: usize, ask: &Ask) -> Tried {
        match self.links.get(index) {
            Some(link) => link.attempt(&self.account, ask).await,
            None => self.lost(index),
        }
    }

    /// What is reported of an attempt whose task was lost to a defect of ours: it may have been billed.
    pub(super) fn lost(&self, index: usize) -> Tried {
        let endpoint = self.endpoint(index);
        let plain = Attempt::skipped(&self.account.name, &endpoint, Outcome::Interrupted, None);
        Tried { attempt: Attempt { billed: Billed::Unknown, ..plain }, finding: None, pending: false }
    }

    /// The name of the endpoint with this index.
    pub(super) fn endpoint(&self, index: usize) -> Arc<str> {
        self.links.get(index).map(|link| Arc::clone(&link.endpoint)).unwrap_or_default()
    }
}
