//! The journal's own thread, so that a disk which hangs never blocks a worker of the runtime: an announcement waits for it
//! at most [`WITHIN`], and no call is made then.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::journal::Journal;

/// The longest wait for the disk before a paid call.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

/// Runs work on the journal, in the order in which it was submitted. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct JournalThread {
    sender: mpsc::Sender<Work>,
    /// Flights that have ended. Their lines may stay, so nobody wakes the thread for them.
    ended: Arc<Mutex<Vec<Uuid>>>,
}

/// After so long without work the file is emptied, if no flight is open.
const QUIET: Duration = Duration::from_millis(500);

type Work = Box<dyn FnOnce(&mut Journal) + Send>;

impl JournalThread {
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(mut journal: Journal) -> io::Result<Self> {
        let (sender, work) = mpsc::channel::<Work>();
        let ended = Arc::<Mutex<Vec<Uuid>>>::default();
        let of_thread = Arc::clone(&ended);
        let serve = move || serve(&mut journal, &work, &of_thread);
        std::thread::Builder::new().name("journal".into()).spawn(serve)?;
        Ok(Self { sender, ended })
    }

    /// Queues `work` without waiting for it.
    pub(super) fn submit(&self, work: impl FnOnce(&mut Journal) + Send + 'static) {
        // It fails only if the thread has panicked; then announcements fail too, and no calls are made.
        let _ = self.sender.send(Box::new(work));
    }

    /// Drops a flight whose entries are all in the ledger, soon.
    pub(super) fn end(&self, flight: Uuid) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(flight);
    }

    /// Queues `work` and waits for its result. It is done even if this future is dropped.
    ///
    /// # Errors
    /// That of `work`, or [`io::ErrorKind::TimedOut`] after [`WITHIN`]; `work` may still be done later.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, result) = oneshot::channel();
        // The caller may have given up.
        self.submit(move |journal| drop(sender.send(work(journal))));
        match tokio::time::timeout(WITHIN, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(io::Error::other("its thread has died")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer")),
        }
    }
}

fn serve(journal: &mut Journal, work: &mpsc::Receiver<Work>, ended: &Mutex<Vec<Uuid>>) {
    let mut is_empty = true;
    loop {
        let next = if is_empty { work.recv().map_err(RecvTimeoutError::from) } else { work.recv_timeout(QUIET) };
        let ended = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
        ended.into_iter().for_each(|flight| journal.end(flight));
        match next {
            Ok(work) => {
                work(journal);
                is_empty = false;
            }
            Err(RecvTimeoutError::Timeout) => is_empty = journal.tidy(),
            Err(RecvTimeoutError::Disconnected) => {
                journal.tidy();
                return;
            }
        }
    }
}
