//! Requests for a configuration reload, sent by the admin listener and by signals. `app::reload` carries them out.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// The result of a reload: what changed, or all mistakes, each with its key and what to write.
pub type Outcome = Result<Reloaded, Vec<String>>;

/// The sections that a reload has changed, such as `chain` or `providers.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Sections that were not there before.
    pub added: Vec<String>,
    /// Sections with other values; a replaced secret or certificate counts.
    #[schema(example = json!(["providers.NAME"]))]
    pub changed: Vec<String>,
    /// Sections that are gone.
    pub removed: Vec<String>,
}

/// Requests reloads, which are carried out one at a time.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::Sender<Wanted>);

/// The receiving end.
pub type Asked = mpsc::Receiver<Wanted>;

/// A requested reload.
#[derive(Debug)]
pub struct Wanted {
    /// An operator's name, or `signal`.
    pub by: Arc<str>,
    pub reason: Option<String>,
    pub answer: oneshot::Sender<Outcome>,
}

pub fn channel() -> (Requests, Asked) {
    let (requests, asked) = mpsc::channel(16);
    (Requests(requests), asked)
}

impl Requests {
    /// Requests a reload and waits for its result. `None` if the process is shutting down.
    pub async fn ask(&self, by: Arc<str>, reason: Option<String>) -> Option<Outcome> {
        let (answer, outcome) = oneshot::channel();
        self.0.send(Wanted { by, reason, answer }).await.ok()?;
        outcome.await.ok()
    }
}
