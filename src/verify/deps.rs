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
    pub cache: Arc<Cache>,
    /// The key of all digests of persons.
    pub digest_key: DigestKey,
    pub metrics: Metrics,
    /// Owns every piece of paid work, so that shutdown waits for it.
    pub tasks: TaskTracker,
    pub clock: Clock,
    pub ids: Ids,
    pub names: Arc<Names>,
    /// Finds what is stored about a person, for erasure.
    pub traces: Arc<Traces>,
    pub ledger: Ledger,
    pub billing: Arc<Billing>,
}
