//! When a question knew that no cached verdict answers it: the end of its look-up, for the trace of its request.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

/// The end of the look-up of a question that went on to a flight. Nothing is kept unless the request is traced.
#[derive(Debug, Clone, Default)]
pub struct Recall(Option<Arc<OnceLock<Instant>>>);

impl Recall {
    /// For a question whose request is traced.
    pub fn traced() -> Self {
        Self(Some(Arc::default()))
    }

    /// The question leads or joins a flight. Only the first one counts.
    pub(super) fn ended(&self) {
        if let Some(ended) = &self.0 {
            ended.get_or_init(Instant::now);
        }
    }

    /// When the look-up ended; `None` if it had an answer, or nobody wants to know.
    pub fn end(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|ended| ended.get().copied())
    }
}
