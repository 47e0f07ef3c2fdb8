//! What a runtime is built on and what outlives it.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::billing::Billing;
use super::erasure::Traces;
use super::metrics::Metrics;
use super::outbound::dns::Names;
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::DigestKey;
use crate::storage::Cache;
use crate::storage::ledger::Ledger;

/// What a runtime is built on and what outlives it.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Remembered verdicts.
    pub cache: Arc<Cache>,
    /// The secret of all digests.
    pub digest_key: DigestKey,
    /// Where to count.
    pub metrics: Metrics,
    /// Owns every piece of paid work, so that shutdown waits for it.
    pub tasks: TaskTracker,
    /// Wall-clock time.
    pub clock: Clock,
    /// Nonces.
    pub ids: Ids,
    /// Addresses of providers.
    pub names: Arc<Names>,
    /// What is known about persons beside what is remembered.
    pub traces: Arc<Traces>,
    /// Where calls are written down.
    pub ledger: Ledger,
    /// Where calls are paid from.
    pub billing: Arc<Billing>,
}
