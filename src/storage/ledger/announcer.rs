//! Announces calls in the journal. What several tasks announce at once is written at once: to wake the journal's thread and
//! to write a line costs more than the line.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use super::journal::Announced;
use super::shared::Shared;

/// How many calls are announced at once.
const MANY: usize = 256;

/// Where calls are announced; each brings a `T`.
#[derive(Debug)]
pub(super) struct Announcer<T>(mpsc::UnboundedSender<Announcement<T>>);

/// What waits to be announced.
#[derive(Debug)]
pub(super) struct Announcements<T>(mpsc::UnboundedReceiver<Announcement<T>>);

type Announcement<T> = (Announced, T, oneshot::Sender<T>);

impl<T: Send + 'static> Announcer<T> {
    pub(super) fn new() -> (Self, Announcements<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Announcements(receiver))
    }

    /// Has a call announced. What it brings comes back once that is written, and otherwise never.
    pub(super) fn announce(&self, announced: Announced, brings: T) -> oneshot::Receiver<T> {
        let (done, is_done) = oneshot::channel();
        // It fails only once the ledger is closed. `done` is dropped then.
        let _ = self.0.send((announced, brings, done));
        is_done
    }
}

impl<T: Send + 'static> Announcements<T> {
    /// Writes what is announced. Whoever announces something is answered within
    /// [`journal_thread::WITHIN`](super::journal_thread::WITHIN), unless the disk is so slow that two writes take longer.
    pub(super) async fn serve(mut self, shared: Arc<Shared>) {
        let mut announced = Vec::with_capacity(MANY);
        while let Some(first) = self.0.recv().await {
            announced.push(first);
            // Every task that is ready may announce something first.
            yield_now().await;
            while announced.len() < MANY
                && let Ok(next) = self.0.try_recv()
            {
                announced.push(next);
            }
            if !shared.can_announce.load(Ordering::Relaxed) {
                // No one waits for a disk that has just been waited for in vain.
                announced.clear();
                continue;
            }
            let (mut lines, mut brought, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            for (announced, brings, done) in announced.drain(..) {
                lines.push(announced);
                brought.push(brings);
                waiting.push(done);
            }
            // What they bring stays with the lines until these are written, even if nobody waits any more.
            match shared.journal.run(move |journal| journal.begin(lines).map(|()| brought)).await {
                // A caller that has left gives back what it would have got.
                Ok(brought) => waiting.into_iter().zip(brought).for_each(|(done, brings)| _ = done.send(brings)),
                Err(error) => shared.cannot_announce(&error),
            }
        }
    }
}
