//! The state of the handlers of look-ups.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::server::http::recorder::Recorder;
use crate::server::pipeline::Pipeline;

/// What look-ups and receipts need.
#[derive(Debug)]
pub struct Records {
    /// The steps of a question, and the ledger.
    pub pipeline: Arc<Pipeline>,
    /// Where its requests are logged and counted.
    pub recorder: Recorder,
}

impl FromRef<Arc<Records>> for Recorder {
    fn from_ref(records: &Arc<Records>) -> Self {
        records.recorder.clone()
    }
}
