//! The state of the handler of `POST /v1/verify`.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::server::http::recorder::Recorder;
use crate::server::idempotency::Idempotency;
use crate::server::pipeline::Pipeline;

/// What `POST /v1/verify` needs.
#[derive(Debug)]
pub struct Verify {
    /// The steps of a question, and the ledger.
    pub pipeline: Arc<Pipeline>,
    /// Idempotency keys that memory knows.
    pub idempotency: Idempotency,
    /// Where its requests are logged and counted.
    pub recorder: Recorder,
}

impl FromRef<Arc<Verify>> for Recorder {
    fn from_ref(verify: &Arc<Verify>) -> Self {
        verify.recorder.clone()
    }
}
