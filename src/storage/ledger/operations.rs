//! What operators did. An action never waits long for its record: an isolation must work while the ledger cannot be
//! written. Its record is then kept in memory and written as soon as it can be.

use std::time::Duration;

use uuid::Uuid;

use super::entry::{Entry, Operation};
use super::error::{NotWritten, ReadError};
use super::handle::Ledger;
use super::queue::Flight;

/// How long an action waits for its record to reach the disk.
const PATIENCE: Duration = Duration::from_secs(1);

impl Ledger {
    /// Records an operation and returns whether it is on the disk. If not, it is written when that is possible again;
    /// without a ledger, never.
    pub async fn record(&self, operation: impl FnOnce(Uuid, i64) -> Operation) -> bool {
        let Some(open) = &self.0 else { return false };
        if open.queue.is_full() {
            open.queue.shared.lost(std::iter::once("operation"));
            return false;
        }
        let operation = operation(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        let queue = std::sync::Arc::clone(&open.queue);
        // In a task of its own, so that the record is also kept if nobody waits any more. The same id is written once.
        #[expect(clippy::disallowed_methods, reason = "closing the ledger waits for what was submitted to it")]
        let writing = tokio::spawn(async move {
            let entry = Entry::Operation(operation);
            let written = queue.write(entry.clone(), Flight::NONE).await;
            if let Err(NotWritten) = written {
                tracing::error!(
                    "ledger: what an operator did cannot be recorded now; it is kept in memory until it can"
                );
                queue.submit(entry, Flight::NONE, None);
            }
            written
        });
        matches!(tokio::time::timeout(PATIENCE, writing).await, Ok(Ok(Ok(()))))
    }

    /// The last isolation or restoring of this provider.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn last_isolation(&self, provider: &str) -> Result<Option<Operation>, ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await?.last_isolation(provider).await,
            None => Ok(None),
        }
    }
}
