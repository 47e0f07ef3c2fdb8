//! The dependencies of a runtime.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::billing::Billing;
use super::erasure::Traces;
use super::metrics::Metrics;
use super::outbound::dns::Names;
use super::places::Places;
use super::warming::Warming;
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::DigestKey;
use crate::storage::Cache;
use crate::storage::ledger::Ledger;
use crate::storage::shared::Shared;

/// The dependencies of a `Runtime`. They outlive it: a reload passes them to the next one.
#[derive(Debug, Clone)]
pub struct Deps {
    pub cache: Arc<Cache>,
    /// The key for all digests of personal data.
    pub digest_key: DigestKey,
    pub metrics: Metrics,
    /// Owns all tasks that make billed calls, so that shutdown waits for them.
    pub tasks: TaskTracker,
    pub clock: Clock,
    pub ids: Ids,
    pub names: Arc<Names>,
    /// Finds what is stored about a person, for erasure.
    pub traces: Arc<Traces>,
    pub ledger: Ledger,
    pub billing: Arc<Billing>,
    pub places: Arc<Places>,
    /// What is restored from the ledger after a start.
    pub warming: Arc<Warming>,
    /// What the replicas share.
    pub shared: Shared,
}
