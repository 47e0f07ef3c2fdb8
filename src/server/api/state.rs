//! The state of the handler of `POST /v1/verify`.

use std::sync::Arc;

use crate::server::http::recorder::Recorder;
use crate::server::idempotency::Idempotency;
use crate::server::pipeline::Pipeline;

/// The one route of this edge.
pub(in crate::server) const ROUTE: &str = "/v1/verify";

#[derive(Debug)]
pub struct Verify {
    pub pipeline: Arc<Pipeline>,
    /// The idempotency keys in memory.
    pub idempotency: Idempotency,
    /// Logs and counts the requests.
    pub recorder: Recorder,
}
