//! Reads files on a thread that may be lost, because a FIFO or a mount can hang for ever: neither a reload nor the end of
//! the process waits for it beyond [`WITHIN`]. At most one thread is lost.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::config::Reading;
use super::memory;

/// The longest wait for the files of a configuration.
const WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct FileReader {
    thread: Option<JoinHandle<()>>,
    reading: Reading,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    #[error("reading {0:?} takes too long; check its disk or mount, and that it is a regular file")]
    Hangs(std::path::PathBuf),
    #[error("the files could not be read because of a bug in idgate")]
    Panicked,
}

impl FileReader {
    /// Runs `work`, which notes the file that it is reading. Safe to cancel: the next call waits for the thread.
    ///
    /// # Errors
    /// If this work or the previous one is still waiting for a file after [`WITHIN`], or `work` panicked.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Reading) -> T + Send + 'static,
    ) -> Result<T, ReadFailure> {
        if let Some(thread) = &mut self.thread
            && timeout(WITHIN, thread).await.is_err()
        {
            return Err(self.timed_out());
        }
        let (done, result) = oneshot::channel();
        let reading = self.reading.clone();
        self.thread = Some(tokio::task::spawn_blocking(move || drop(done.send(memory::wiping(|| work(&reading))))));
        match timeout(WITHIN, result).await {
            Ok(result) => result.map_err(|_| ReadFailure::Panicked),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> ReadFailure {
        ReadFailure::Hangs(self.reading.path().unwrap_or_default())
    }
}
