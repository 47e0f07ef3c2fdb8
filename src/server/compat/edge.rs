//! State of the handler for the providers' protocols.

use std::sync::Arc;

use prometheus::Registry;

use super::nonces::Nonces;
use crate::server::http::body_room::{BodyRoom, Limits};
use crate::server::http::recorder::Recorder;
use crate::server::pipeline::Pipeline;

/// The endpoints for the providers' protocols.
#[derive(Debug)]
pub struct Edge {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) recorder: Recorder,
    pub(super) nonces: Nonces,
    /// For the bodies of callers whose head names an issued key, and of all others.
    pub(super) named: BodyRoom,
    pub(super) unnamed: BodyRoom,
}

/// The share of all requests whose bodies may wait without a key, and the least number of them.
const UNNAMED_SHARE: usize = 8;
const UNNAMED_LEAST: usize = 16;

/// The bodies of one address without a key that may wait on one connection.
const UNNAMED_PER_CONNECTION: usize = 16;

/// Why an [`Edge`] cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A metric family was registered twice, which is a bug.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Edge {
    /// Builds the handler state; at most `most_at_once` requests of known keys are read at a time, and fewer of others.
    ///
    /// # Errors
    /// When a metric family was registered twice.
    pub fn new(
        pipeline: Arc<Pipeline>,
        recorder: Recorder,
        most_at_once: usize,
        most_per_connection: usize,
        registry: &Registry,
    ) -> Result<Self, EdgeError> {
        let half = |all: usize| (all / 2).max(1);
        let unnamed = (most_at_once / UNNAMED_SHARE).max(UNNAMED_LEAST);
        let named = Limits { in_all: most_at_once, per_owner: half(most_at_once), per_connection: most_per_connection };
        let unnamed = Limits { in_all: unnamed, per_owner: half(unnamed), per_connection: UNNAMED_PER_CONNECTION };
        let [named, unnamed] = [named, unnamed].map(BodyRoom::new);
        Ok(Self { pipeline, recorder, nonces: Nonces::new(registry)?, named, unnamed })
    }
}
