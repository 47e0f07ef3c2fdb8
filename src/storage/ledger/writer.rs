//! The writer task. It appends everything that arrived during the last append to the spool in one go, so under load
//! many entries share one fsync and a single entry waits for no other. The [`Flusher`] then moves the spool into the
//! database.
//!
//! If the database cannot be written, entries stay in the spool. If the spool cannot be written, entries go straight to
//! the database, after everything the spool holds. If neither can be written, callers get an error, paid calls are
//! refused, and the remaining entries stay in memory; the writer retries every second. Invariant: entries are written
//! in the order in which they were submitted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::NotWritten;
use super::flusher::{Flusher, Load, Stuck};
use super::inbox::{Batch, Receiver};
use super::queue::WriteRequest;
use super::shared::Shared;
use super::spool::Spool;

/// The pause between two fsyncs under load: each costs as much CPU time as several entries. The runtime's timer adds up to
/// a millisecond.
const GATHER: Duration = Duration::from_millis(1);
/// A batch of at least this size counts as load.
const MANY: usize = 8;
/// How long entries collect in the spool unless a reader needs them: large transactions cost the database half as much
/// per entry as small ones.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// How often a failed write is retried.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How much memory for records is used again.
const MOST_SPARE: usize = 1 << 20;
/// How many entries stay in memory while nothing can be written; later ones are dropped and counted as lost.
const MOST_KEPT: usize = 100_000;

pub(super) struct Writer {
    receiver: Receiver<WriteRequest>,
    shared: Arc<Shared>,
    /// Runs the appends and the flushes.
    tasks: TaskTracker,
    /// Requests that are not on the disk yet, oldest first.
    waiting: Batch<WriteRequest>,
    /// An empty one, whose memory is used again.
    spare: Batch<WriteRequest>,
    /// Readers that wait until the database has every entry.
    waiters: Vec<oneshot::Sender<()>>,
    /// The file that takes entries; `None` while a task has it.
    taking: Option<Spool>,
    /// The flusher and the other file; `None` while a task has them.
    resting: Option<(Flusher, Spool)>,
    appending: Option<JoinHandle<Appended>>,
    /// The earliest time of the next append.
    append_at: Option<Instant>,
    flushing: Option<Round>,
    /// When the next flush starts.
    flush_at: Option<Instant>,
    /// How many entries about idempotency keys are in the database once the resting file is empty.
    keys: u64,
    /// The spool could not take the waiting entries: the next flush writes them to the database.
    goes_past: bool,
    spool_fails: bool,
    database_fails: bool,
    /// Neither the spool nor the database can be written.
    is_nowhere: bool,
    is_closing: bool,
}

/// The result of an append.
struct Appended {
    spool: Spool,
    /// Empty if it was appended.
    batch: Batch<WriteRequest>,
    appended: std::io::Result<()>,
}

/// A running flush, and the readers that wait for it.
struct Round {
    job: JoinHandle<(Flusher, Load, Result<(), Stuck>)>,
    waiters: Vec<oneshot::Sender<()>>,
    /// How many entries about idempotency keys are in the database once it has ended: see [`super::claims::Spooled`].
    keys: u64,
}

impl Writer {
    /// Takes the two spool files, the older one first. Entries in them are moved once the database can be written.
    pub(super) fn new(
        receiver: Receiver<WriteRequest>,
        shared: Arc<Shared>,
        tasks: TaskTracker,
        flusher: Flusher,
        [resting, mut taking]: [Spool; 2],
    ) -> Self {
        let is_left = !(taking.is_empty() && resting.is_empty());
        if taking.is_empty() {
            taking.follow(&resting);
        }
        Self {
            receiver,
            shared,
            tasks,
            waiting: Batch::default(),
            spare: Batch::default(),
            waiters: Vec::new(),
            taking: Some(taking),
            resting: Some((flusher, resting)),
            appending: None,
            append_at: None,
            flushing: None,
            flush_at: is_left.then(Instant::now),
            keys: 0,
            goes_past: false,
            spool_fails: false,
            database_fails: is_left,
            is_nowhere: false,
            is_closing: false,
        }
    }

    /// Writes until `closing` is cancelled, then writes everything that was submitted before.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut again = interval(TRY_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut may_come = true;
        while may_come || self.appending.is_some() || self.flushing.is_some() || self.goes_past {
            let takes = may_come && self.appending.is_none() && self.append_at.is_none() && !self.goes_past;
            let is_at_rest = self.appending.is_none() && self.flushing.is_none();
            // Every branch is safe to cancel: timers, an inbox, a cancellation token, and handles of separate tasks.
            tokio::select! {
                biased;
                () = closing.cancelled(), if !self.is_closing => {
                    self.receiver.close();
                    self.is_closing = true;
                    self.hurry(true);
                }
                appended = end_of(self.appending.as_mut()) => match appended {
                    Some(appended) => self.appended(appended),
                    None => return self.abandon(),
                },
                flushed = end_of(self.flushing.as_mut().map(|round| &mut round.job)) => match flushed {
                    Some((flusher, load, flushed)) => self.flushed(flusher, load, flushed),
                    None => return self.abandon(),
                },
                _ = again.tick() => self.look_after(),
                // Before the next append, since it needs the file that takes entries.
                () = until(self.flush_at), if is_at_rest => self.begin_round(),
                () = until(self.append_at) => self.append_at = None,
                () = self.receiver.arrived(), if takes => may_come = self.take(),
            }
        }
        self.end().await;
    }

    /// Takes what has arrived, and returns whether more may come.
    fn take(&mut self) -> bool {
        let mut batch = std::mem::take(&mut self.spare);
        let (mut waiters, is_closed) = self.receiver.take(&mut batch);
        self.waiters.append(&mut waiters);
        if self.waiting.is_empty() {
            self.waiting = batch;
        } else {
            self.waiting.append(&mut batch);
        }
        if self.is_nowhere {
            self.turn_away();
        }
        if self.is_nowhere || self.waiting.is_empty() {
            self.serve_waiters();
        } else {
            self.append();
        }
        !is_closed
    }

    /// Appends the waiting requests to the spool.
    fn append(&mut self) {
        let Some(mut spool) = self.taking.take() else { return };
        let (mut batch, is_probe) = (std::mem::take(&mut self.waiting), self.is_nowhere);
        #[cfg(test)]
        spool.break_for_a_test(self.shared.spool_is_broken.load(Ordering::SeqCst));
        self.append_at = (batch.len() >= MANY).then(|| Instant::now() + GATHER);
        let (shared, database_fails) = (Arc::clone(&self.shared), self.database_fails);
        self.appending = Some(self.tasks.spawn_blocking(move || {
            let began = Instant::now();
            let probed = if is_probe { spool.probe() } else { Ok(()) };
            let appended = probed.and_then(|()| spool.append(&batch.records, batch.len()));
            if appended.is_ok() {
                shared.meter.committed(began.elapsed());
                shared.meter.behind(batch.len(), database_fails);
                // Before callers get their result: a caller that knows its key was claimed must find the claim.
                shared.spooled.take(batch.requests.iter().filter_map(|(_, request)| request.about_keys.as_deref()));
                // From here, because the runtime may be busy.
                written(&shared, &mut batch);
            }
            Appended { spool, batch, appended }
        }));
    }

    fn appended(&mut self, Appended { spool, batch, appended }: Appended) {
        self.appending = None;
        match appended {
            Ok(()) => {
                if batch.records.capacity() <= MOST_SPARE {
                    self.spare = batch;
                }
                self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
                if self.spool_fails {
                    tracing::warn!("ledger: the spool can be written again");
                    self.spool_fails = false;
                }
                self.is_written_again();
            }
            Err(error) => {
                if !self.spool_fails {
                    let spool = spool.path().display();
                    tracing::error!(%error, %spool, "ledger: the spool cannot be written; entries go past it into the database");
                    self.spool_fails = true;
                }
                // A probe may have had no requests; then there is nothing to flush.
                self.goes_past = !batch.is_empty();
                self.waiting = batch;
            }
        }
        self.taking = Some(spool);
        self.serve_waiters();
    }

    /// Starts a flush for the waiting readers. While the database cannot be written, they are released at once.
    fn serve_waiters(&mut self) {
        if self.database_fails {
            notify(self.waiters.drain(..));
        }
        if self.goes_past || !self.waiters.is_empty() {
            self.hurry(true);
            self.flush_at = Some(Instant::now());
        }
    }

    /// Whether somebody waits for the round that runs.
    fn hurry(&self, is_hurried: bool) {
        self.shared.is_flush_hurried.store(is_hurried, Ordering::Relaxed);
    }

    /// Flushes the spool, then the entries that it could not take.
    fn begin_round(&mut self) {
        self.flush_at = None;
        let (Some((flusher, mut resting)), Some(taking)) = (self.resting.take(), self.taking.take()) else { return };
        let mut keys = self.shared.spooled.taken();
        let load = if self.goes_past {
            Load { older: resting, younger: Some(taking), beyond: self.waiting.records.clone() }
        } else if resting.is_empty() && !taking.is_empty() {
            self.keys = keys;
            resting.follow(&taking);
            self.taking = Some(resting);
            Load { older: taking, younger: None, beyond: Vec::new() }
        } else {
            keys = self.keys;
            self.taking = Some(taking);
            Load { older: resting, younger: None, beyond: Vec::new() }
        };
        let waiters = std::mem::take(&mut self.waiters);
        self.hurry(self.goes_past || !waiters.is_empty() || self.is_closing);
        self.flushing = Some(Round { job: self.tasks.spawn(flusher.round(load)), waiters, keys });
    }

    fn flushed(&mut self, flusher: Flusher, load: Load, flushed: Result<(), Stuck>) {
        let Some(round) = self.flushing.take() else { return };
        // If the spool failed during this flush, the next flush takes the entries that it refused.
        let went_past = load.younger.is_some();
        let spool = load.older.path().display().to_string();
        self.resting = Some((flusher, load.older));
        self.taking = load.younger.or_else(|| self.taking.take());
        match flushed {
            Ok(()) => {
                self.shared.spooled.moved(round.keys);
                if self.database_fails {
                    tracing::warn!("ledger: the database can be written again");
                    self.database_fails = false;
                }
                if went_past {
                    self.goes_past = false;
                    written(&self.shared, &mut self.waiting);
                    self.is_written_again();
                }
                if self.taking.as_ref().is_some_and(|taking| !taking.is_empty()) {
                    self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
                }
            }
            Err(error) => {
                if !self.database_fails {
                    tracing::error!(%error, %spool, "ledger: the database cannot be written; entries wait in the spool");
                    self.shared.meter.is_stuck();
                    self.database_fails = true;
                }
                if went_past {
                    self.goes_past = false;
                    self.refuse();
                }
            }
        }
        notify(round.waiters.into_iter());
        self.serve_waiters();
    }

    fn refuse(&mut self) {
        if !self.is_nowhere {
            tracing::error!("ledger: neither the spool nor the database can be written; paid calls are refused");
            self.is_nowhere = true;
            self.shared.writes(false);
        }
        self.turn_away();
    }

    /// Fails the requests that have a waiting caller: it then sends no answer, so there is nothing to record. The
    /// others, mainly paid calls, stay in memory up to [`MOST_KEPT`].
    fn turn_away(&mut self) {
        let (waited_for, lost) = self.waiting.take_out(MOST_KEPT, WriteRequest::is_waited_for);
        self.shared.waiting.fetch_sub(waited_for.len(), Ordering::Relaxed);
        waited_for.into_iter().for_each(|request| request.end(Err(NotWritten)));
        self.lose(lost);
    }

    fn is_written_again(&mut self) {
        self.is_nowhere = false;
        self.shared.writes(true);
    }

    /// Runs once a second: retries failed writes, and starts a flush when it is time to look for expired entries.
    fn look_after(&mut self) {
        self.shared.look();
        if self.is_nowhere {
            if self.appending.is_none() && self.flushing.is_none() && !self.goes_past {
                self.append();
            }
            return;
        }
        if self.database_fails || self.resting.as_ref().is_some_and(|(flusher, _)| flusher.is_due()) {
            self.flush_at = Some(Instant::now());
        }
        // It did not answer in time, but has by now.
        if self.appending.is_none() && !self.goes_past {
            self.shared.writes(true);
        }
        if !self.shared.can_announce.load(Ordering::Relaxed) {
            self.shared.probe_journal();
        }
    }

    /// Shutdown: writes the spool and all waiting requests to the database.
    async fn end(mut self) {
        let (Some((flusher, older)), Some(taking)) = (self.resting.take(), self.taking.take()) else { return };
        let mut batch = std::mem::take(&mut self.waiting);
        let (mut flusher, mut load, flushed) =
            flusher.round(Load { older, younger: Some(taking), beyond: batch.records.clone() }).await;
        let is_level = flushed.is_ok();
        let mut is_written = is_level;
        if let Err(error) = flushed {
            tracing::error!(%error, "ledger: the database cannot be written; the next start moves what waits in the spool");
            let younger = load.younger.as_mut();
            is_written = younger.is_some_and(|spool| spool.append(&batch.records, batch.len()).is_ok());
        }
        if is_written {
            written(&self.shared, &mut batch);
        } else {
            self.lose(batch.requests.into_iter().map(|(_, request)| request).collect());
        }
        [Some(load.older), load.younger].into_iter().flatten().for_each(|mut spool| spool.close());
        notify(self.waiters.drain(..));
        flusher.tell_heads("ledger: closed").await;
        flusher.store.close(is_level).await;
    }

    /// A task panicked and took its spool file with it, which is a bug. The next start reads that file again.
    fn abandon(mut self) {
        self.shared.writes(false);
        let waiting = std::mem::take(&mut self.waiting);
        self.lose(waiting.requests.into_iter().map(|(_, request)| request).collect());
        tracing::error!("ledger: its writer has died; paid calls are refused. Start idgate again");
    }

    /// Counts `lost` as lost; only the journal still has a record of them.
    fn lose(&self, lost: Vec<WriteRequest>) {
        if !lost.is_empty() {
            self.shared.waiting.fetch_sub(lost.len(), Ordering::Relaxed);
            self.shared.lost(lost.iter().map(|request| request.kind));
        }
    }
}

/// Waits for a task; `None` if it panicked. Without a task, waits forever.
async fn end_of<T>(job: Option<&mut JoinHandle<T>>) -> Option<T> {
    match job {
        Some(job) => job.await.ok(),
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) if at <= Instant::now() => {}
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Counts the requests of `batch` as written, reports success to their callers, and leaves it empty.
fn written(shared: &Shared, batch: &mut Batch<WriteRequest>) {
    shared.meter.written(batch.requests.iter().map(|(_, request)| request.kind));
    shared.waiting.fetch_sub(batch.len(), Ordering::Release);
    batch.requests.drain(..).for_each(|(_, request)| request.end(Ok(())));
    batch.records.clear();
}

fn notify(waiters: impl Iterator<Item = oneshot::Sender<()>>) {
    // A reader that has left needs no answer.
    waiters.for_each(|waiter| _ = waiter.send(()));
}
