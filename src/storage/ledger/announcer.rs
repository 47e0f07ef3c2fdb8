//! Announces calls in the journal. Calls that begin together share one write, because waking the journal's thread costs
//! more than the lines.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use super::journal::Announced;
use super::shared::Shared;

/// Where calls are announced. Each brings a `T`, which it gets back once it is announced.
#[derive(Debug)]
pub(super) struct Announcer<T>(mpsc::UnboundedSender<Announcement<T>>);

/// The calls that wait to be announced; no more than there are places for calls.
#[derive(Debug)]
pub(super) struct Announcements<T>(mpsc::UnboundedReceiver<Announcement<T>>);

type Announcement<T> = (Announced, T, oneshot::Sender<T>);

impl<T: Send + 'static> Announcer<T> {
    pub(super) fn new() -> (Self, Announcements<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Announcements(receiver))
    }

    /// Queues an announcement. `brings` comes back once it is written; the channel closes if it cannot be.
    pub(super) fn announce(&self, announced: Announced, brings: T) -> oneshot::Receiver<T> {
        let (done, is_done) = oneshot::channel();
        // This fails only after the ledger has been closed, and drops `done`.
        let _ = self.0.send((announced, brings, done));
        is_done
    }
}

impl<T: Send + 'static> Announcements<T> {
    /// Writes announcements until the last [`Announcer`] is dropped. A caller waits for at most two writes: the one that is
    /// going on and its own, each limited to [`journal_thread::WITHIN`](super::journal_thread::WITHIN). If the first
    /// takes too long, it is refused without the second.
    pub(super) async fn serve(mut self, shared: Arc<Shared>) {
        let mut announced = Vec::new();
        while let Some(first) = self.0.recv().await {
            announced.push(first);
            // Lets the tasks that are ready announce their calls, too.
            yield_now().await;
            announced.extend(std::iter::from_fn(|| self.0.try_recv().ok()));
            if !shared.can_announce.load(Ordering::Relaxed) {
                // The write before this one failed.
                announced.clear();
                continue;
            }
            let (mut lines, mut brought, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
            for (announced, brings, done) in announced.drain(..) {
                lines.push(announced);
                brought.push(brings);
                waiting.push(done);
            }
            // The journal keeps `brought` until the lines are written: dropping a flight ends it, which must come later.
            match shared.journal.run(move |journal| journal.begin(lines).map(|()| brought)).await {
                // If a caller has left, what it brought is dropped here.
                Ok(brought) => waiting.into_iter().zip(brought).for_each(|(done, brings)| _ = done.send(brings)),
                Err(error) => shared.cannot_announce(&error),
            }
        }
    }
}
