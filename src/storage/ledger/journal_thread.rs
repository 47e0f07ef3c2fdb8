//! The journal's own thread, so that a disk which hangs never blocks a worker of the runtime: an announcement waits for it
//! at most [`WITHIN`], and no call is made then.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::journal::Journal;

/// The longest wait for the disk before a paid call.
pub(super) const WITHIN: Duration = Duration::from_secs(1);

/// Runs work on the journal, in the order in which it was submitted. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct JournalThread(mpsc::Sender<Work>);

type Work = Box<dyn FnOnce(&mut Journal) + Send>;

impl JournalThread {
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(mut journal: Journal) -> io::Result<Self> {
        let (sender, work) = mpsc::channel::<Work>();
        let serve = move || work.iter().for_each(|work| work(&mut journal));
        std::thread::Builder::new().name("journal".into()).spawn(serve)?;
        Ok(Self(sender))
    }

    /// Queues `work` without waiting for it.
    pub(super) fn submit(&self, work: impl FnOnce(&mut Journal) + Send + 'static) {
        // It fails only if the thread has panicked; then announcements fail too, and no calls are made.
        let _ = self.0.send(Box::new(work));
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
