//! Shared state of the admin listener.

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::Clock;
use crate::server::log_level::LogLevel;
use crate::server::snapshot::Current;
use crate::server::{listener, reload};
use crate::storage::ledger::Ledger;
use crate::storage::shared::Shared;

/// Shared state of the admin listener.
#[derive(Debug)]
pub struct Admin {
    pub current: Current,
    /// All metrics of this process.
    pub registry: Registry,
    /// Connection metrics of all listeners.
    pub connections: listener::Metrics,
    pub reloads: reload::Requests,
    /// Records what operators do.
    pub ledger: Ledger,
    pub shared: Shared,
    /// The level of the log.
    pub log_level: LogLevel,
    pub clock: Clock,
    /// Cancelled when shutdown begins.
    pub draining: CancellationToken,
}

impl Admin {
    pub(super) fn word(&self) -> &'static str {
        if self.draining.is_cancelled() { "draining" } else { "ready" }
    }
}
