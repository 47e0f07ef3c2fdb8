//! State of the handler for the providers' protocols.

use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::Semaphore;

use super::nonces::Nonces;
use crate::server::http::recorder::Recorder;
use crate::server::pipeline::Pipeline;

/// The endpoints for the providers' protocols.
#[derive(Debug)]
pub struct Edge {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) recorder: Recorder,
    pub(super) nonces: Nonces,
    /// Limits how many requests are read at once.
    pub(super) bodies: Semaphore,
}

/// Why an [`Edge`] cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A metric family was registered twice, which is a bug.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Edge {
    /// Builds the handler state; at most `most_at_once` requests are read at a time.
    ///
    /// # Errors
    /// When a metric family was registered twice.
    pub fn new(
        pipeline: Arc<Pipeline>,
        recorder: Recorder,
        most_at_once: usize,
        registry: &Registry,
    ) -> Result<Self, EdgeError> {
        let bodies = Semaphore::new(most_at_once.min(Semaphore::MAX_PERMITS));
        Ok(Self { pipeline, recorder, nonces: Nonces::new(registry)?, bodies })
    }
}
