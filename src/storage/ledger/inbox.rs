//! What waits for the writer. Whoever submits something takes a lock for a moment and wakes the writer only if somebody
//! waits for it, so that most entries of a burst cost neither a wake-up nor an allocation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long entries that nobody waits for collect: each append costs as much as several entries.
const LINGER: Duration = Duration::from_millis(25);
/// So many of them are written at once.
const MANY: usize = 512;

/// Requests, and their records one after the other.
#[derive(Debug)]
pub(super) struct Batch<R> {
    pub(super) records: Vec<u8>,
    /// Each with the length of its record.
    pub(super) requests: Vec<(usize, R)>,
}

#[derive(Debug)]
pub(super) struct Inbox<R> {
    incoming: Mutex<Incoming<R>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Incoming<R> {
    batch: Batch<R>,
    /// Readers that wait until the database has every entry.
    waiters: Vec<oneshot::Sender<()>>,
    /// When the first request of the batch arrived.
    since: Option<Instant>,
    /// Whether somebody waits.
    is_urgent: bool,
    is_closed: bool,
}

/// The writer's end. When it is dropped, nothing more is taken.
#[derive(Debug)]
pub(super) struct Receiver<R>(Arc<Inbox<R>>);

/// Nothing is taken any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

impl<R> Inbox<R> {
    pub(super) fn new() -> (Arc<Self>, Receiver<R>) {
        let incoming =
            Incoming { batch: Batch::default(), waiters: Vec::new(), since: None, is_urgent: false, is_closed: false };
        let inbox = Arc::new(Self { incoming: Mutex::new(incoming), arrived: Notify::new() });
        (Arc::clone(&inbox), Receiver(inbox))
    }

    pub(super) fn submit(&self, record: &[u8], request: R, is_waited_for: bool) -> Result<(), Closed> {
        let mut incoming = self.lock();
        if incoming.is_closed {
            drop(incoming);
            return Err(Closed);
        }
        incoming.batch.push(record, request);
        let wakes = incoming.since.is_none() || (is_waited_for && !incoming.is_urgent);
        let wakes = wakes || incoming.batch.requests.len() == MANY;
        incoming.is_urgent |= is_waited_for;
        if incoming.since.is_none() {
            incoming.since = Some(Instant::now());
        }
        drop(incoming);
        if wakes {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Has `waiter` told once the database has every earlier entry, or cannot be written now.
    pub(super) fn flush(&self, waiter: oneshot::Sender<()>) -> Result<(), Closed> {
        let mut incoming = self.lock();
        if incoming.is_closed {
            return Err(Closed);
        }
        incoming.waiters.push(waiter);
        incoming.is_urgent = true;
        drop(incoming);
        self.arrived.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Incoming<R>> {
        // No code that holds the lock can panic halfway through a change.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Receiver<R> {
    /// Takes nothing more, except what has been submitted.
    pub(super) fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.arrived.notify_one();
    }

    /// Waits until it is time to take something. It may be cancelled.
    pub(super) async fn arrived(&self) {
        loop {
            let since = {
                let incoming = self.0.lock();
                if incoming.is_closed || incoming.is_urgent || incoming.batch.requests.len() >= MANY {
                    return;
                }
                incoming.since
            };
            match since {
                None => self.0.arrived.notified().await,
                Some(since) => {
                    if timeout_at(since + LINGER, self.0.arrived.notified()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Takes everything that has arrived. `into` must be empty; its memory is used for what arrives next.
    pub(super) fn take(&self, into: &mut Batch<R>) -> (Vec<oneshot::Sender<()>>, bool) {
        let mut incoming = self.0.lock();
        (incoming.since, incoming.is_urgent) = (None, false);
        std::mem::swap(&mut incoming.batch, into);
        (std::mem::take(&mut incoming.waiters), incoming.is_closed)
    }
}

impl<R> Drop for Receiver<R> {
    fn drop(&mut self) {
        self.close();
        // Outside the lock: a request that is dropped may submit another.
        let mut batch = Batch::default();
        let waiters = self.take(&mut batch);
        drop((batch, waiters));
    }
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { records: Vec::new(), requests: Vec::new() }
    }
}

impl<R> Batch<R> {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    fn push(&mut self, record: &[u8], request: R) {
        self.records.extend_from_slice(record);
        self.requests.push((record.len(), request));
    }

    /// Adds `later` at the end, and leaves it empty.
    pub(super) fn append(&mut self, later: &mut Self) {
        self.records.append(&mut later.records);
        self.requests.append(&mut later.requests);
    }

    /// Takes out the requests for which `goes` holds, and all after the first `most` others.
    pub(super) fn take_out(&mut self, most: usize, goes: impl Fn(&R) -> bool) -> (Vec<R>, Vec<R>) {
        let (mut kept, mut gone, mut beyond) = (Self::default(), Vec::new(), Vec::new());
        let Self { records, requests } = std::mem::take(self);
        let mut rest = &records[..];
        for (length, request) in requests {
            let (record, others) = rest.split_at_checked(length).unwrap_or_default();
            rest = others;
            if goes(&request) {
                gone.push(request);
            } else if kept.len() < most {
                kept.push(record, request);
            } else {
                beyond.push(request);
            }
        }
        *self = kept;
        (gone, beyond)
    }
}
