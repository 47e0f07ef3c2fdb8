//! Shared state of the lookup handlers.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::server::http::recorder::Recorder;
use crate::server::pipeline::Pipeline;

/// What lookups and receipts need.
#[derive(Debug)]
pub struct Records {
    /// The request pipeline, which also holds the ledger.
    pub pipeline: Arc<Pipeline>,
    /// Logs and counts the requests.
    pub recorder: Recorder,
}

impl FromRef<Arc<Records>> for Recorder {
    fn from_ref(records: &Arc<Records>) -> Self {
        records.recorder.clone()
    }
}
