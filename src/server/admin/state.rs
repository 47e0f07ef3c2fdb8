//! What the admin listener is built on.

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::server::snapshot::Current;
use crate::server::{listener, reload};

/// What the admin listener is built on.
#[derive(Debug)]
pub struct Admin {
    /// The configuration in force.
    pub current: Current,
    /// All metrics of this gateway.
    pub registry: Registry,
    /// The connections of its listeners.
    pub connections: listener::Metrics,
    /// Asks for a reload of the configuration.
    pub reloads: reload::Requests,
    /// Cancelled when the process begins to go down.
    pub draining: CancellationToken,
}

impl Admin {
    /// `ready` or `draining`.
    pub(super) fn word(&self) -> &'static str {
        if self.draining.is_cancelled() { "draining" } else { "ready" }
    }
}
