//! The one task that writes. It takes what has gathered while it was writing and puts that at the end of the spool, so that
//! under load many answers share one wait for the disk and a single one waits for nobody; behind that, round by round, a
//! [`Flusher`] brings it into the database.
//!
//! When the database cannot be written, entries stay in the spool. When the spool cannot be written, they go to the database
//! past it, after all that it holds. When neither can be, whoever waits is told, paid calls are refused, and the rest is kept
//! here until something can be written again, which is tried every second. Invariant: entries are written in the order in
//! which they were given.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::NotWritten;
use super::flusher::{Flusher, Load, Stuck};
use super::queue::{Asked, WriteRequest};
use super::shared::Shared;
use super::spool::Spool;

/// Entries that share one wait for the disk.
const BATCH: usize = 512;
/// From one wait for the disk to the next, while many entries come: each costs the processor as much as some of them.
const GATHER: Duration = Duration::from_millis(2);
/// So many at once are many.
const MANY: usize = 8;
/// So long entries gather in the spool before they are moved, when nobody looks for them: many in one transaction cost the
/// database half as much as few.
const MOVE_AFTER: Duration = Duration::from_millis(500);
/// So often what could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// So many entries are kept when nothing can be written; what comes then is lost, and counted.
const MOST_KEPT: usize = 100_000;

pub(super) struct Writer {
    asked: mpsc::UnboundedReceiver<Asked>,
    shared: Arc<Shared>,
    /// Where its own work counts.
    tasks: TaskTracker,
    /// Not on the disk yet, in order.
    waiting: Vec<WriteRequest>,
    /// Who looks for what is not on the disk yet, or only in the spool.
    lookers: Vec<oneshot::Sender<()>>,
    /// The file that takes entries; none while it is at work.
    taking: Option<Spool>,
    /// The mover with the other file; none while they are at work.
    resting: Option<(Flusher, Spool)>,
    appending: Option<JoinHandle<Appended>>,
    /// Not before.
    append_at: Option<Instant>,
    moving: Option<Round>,
    /// When to begin the next round.
    move_at: Option<Instant>,
    /// So many entries about keys have moved when the resting file is empty.
    keys: u64,
    /// The spool could not take what waits: the next round does.
    goes_past: bool,
    spool_fails: bool,
    database_fails: bool,
    /// Nothing can be written anywhere.
    is_nowhere: bool,
}

/// What an append leaves behind.
struct Appended {
    spool: Spool,
    orders: Vec<WriteRequest>,
    appended: std::io::Result<()>,
    took: Duration,
}

/// A round at work, and who waits for it.
struct Round {
    job: JoinHandle<(Flusher, Load, Result<(), Stuck>)>,
    lookers: Vec<oneshot::Sender<()>>,
    /// So many entries about keys have moved when it has ended: see [`super::claims::Spooled`].
    keys: u64,
}

impl Writer {
    /// Writes into one of `spools`, which are empty.
    pub(super) fn new(
        asked: mpsc::UnboundedReceiver<Asked>,
        shared: Arc<Shared>,
        tasks: TaskTracker,
        flusher: Flusher,
        [mut taking, moved]: [Spool; 2],
    ) -> Self {
        taking.follow(&moved);
        Self {
            asked,
            shared,
            tasks,
            waiting: Vec::new(),
            lookers: Vec::new(),
            taking: Some(taking),
            resting: Some((flusher, moved)),
            appending: None,
            append_at: None,
            moving: None,
            move_at: None,
            keys: 0,
            goes_past: false,
            spool_fails: false,
            database_fails: false,
            is_nowhere: false,
        }
    }

    /// Writes until `closing`, and then all that was given before.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut again = interval(TRY_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let (mut is_open, mut may_come) = (true, true);
        while may_come || self.appending.is_some() || self.moving.is_some() || self.goes_past {
            let takes = may_come && self.appending.is_none() && self.append_at.is_none() && !self.goes_past;
            let is_at_rest = self.appending.is_none() && self.moving.is_none();
            // Nothing in here is given up half done: what is awaited are clocks, a queue, a bell, and tasks of their own.
            tokio::select! {
                biased;
                () = closing.cancelled(), if is_open => {
                    self.asked.close();
                    is_open = false;
                }
                appended = end_of(self.appending.as_mut()) => match appended {
                    Some(appended) => self.appended(appended),
                    None => return self.fall(),
                },
                moved = end_of(self.moving.as_mut().map(|round| &mut round.job)) => match moved {
                    Some((flusher, load, moved)) => self.moved(flusher, load, moved),
                    None => return self.fall(),
                },
                _ = again.tick() => self.look_after(),
                // Before the next append, since it needs the file that takes entries.
                () = until(self.move_at), if is_at_rest => self.begin_round(),
                () = until(self.append_at) => self.append_at = None,
                received = self.asked.recv_many(&mut batch, BATCH), if takes => {
                    may_come = received > 0;
                    self.take(batch.drain(..));
                }
            }
        }
        self.end().await;
    }

    fn take(&mut self, batch: impl Iterator<Item = Asked>) {
        for asked in batch {
            match asked {
                Asked::Write(order) => self.waiting.push(order),
                Asked::Move(looker) => self.lookers.push(looker),
            }
        }
        if self.is_nowhere {
            self.turn_away();
        }
        if self.is_nowhere || self.waiting.is_empty() {
            self.serve_lookers();
        } else {
            self.append();
        }
    }

    /// Puts what waits at the end of the spool.
    fn append(&mut self) {
        let Some(mut spool) = self.taking.take() else { return };
        let (orders, is_probe) = (std::mem::take(&mut self.waiting), self.is_nowhere);
        #[cfg(test)]
        spool.break_for_a_test(self.shared.spool_is_broken.load(Ordering::SeqCst));
        self.append_at = (orders.len() >= MANY).then(|| Instant::now() + GATHER);
        self.appending = Some(self.tasks.spawn_blocking(move || {
            let began = Instant::now();
            let probed = if is_probe { spool.probe() } else { Ok(()) };
            let appended = probed.and_then(|()| spool.append(orders.iter().map(|order| order.text.as_str())));
            Appended { spool, orders, appended, took: began.elapsed() }
        }));
    }

    fn appended(&mut self, Appended { spool, orders, appended, took }: Appended) {
        self.appending = None;
        match appended {
            Ok(()) => {
                self.shared.meter.committed(took);
                self.shared.meter.behind(orders.len(), self.database_fails);
                // Before anybody is told: who knows of a key must find it.
                self.shared.spooled.take(orders.iter().filter_map(|order| order.about_keys.as_deref()));
                self.written(orders);
                self.move_at.get_or_insert_with(|| Instant::now() + MOVE_AFTER);
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
                // Without any there is nothing that a round could show.
                self.goes_past = !orders.is_empty();
                self.waiting = orders;
            }
        }
        self.taking = Some(spool);
        self.serve_lookers();
    }

    /// These are on the disk.
    fn written(&self, orders: Vec<WriteRequest>) {
        self.shared.meter.written(orders.iter().map(|order| order.kind));
        self.shared.waiting.fetch_sub(orders.len(), Ordering::Release);
        orders.into_iter().for_each(|order| order.end(Ok(())));
    }

    /// What they look for is in the spool by now. As long as the database cannot be written they are not kept waiting.
    fn serve_lookers(&mut self) {
        if self.database_fails {
            tell(self.lookers.drain(..));
        }
        if self.goes_past || !self.lookers.is_empty() {
            self.move_at = Some(Instant::now());
        }
    }

    /// Moves what the spool holds, and behind it what it could not take.
    fn begin_round(&mut self) {
        self.move_at = None;
        let (Some((flusher, mut moved)), Some(taking)) = (self.resting.take(), self.taking.take()) else { return };
        let mut keys = self.shared.spooled.taken();
        let load = if self.goes_past {
            Load { older: moved, younger: Some(taking), beyond: texts(&self.waiting) }
        } else if moved.is_empty() && !taking.is_empty() {
            self.keys = keys;
            moved.follow(&taking);
            self.taking = Some(moved);
            Load { older: taking, younger: None, beyond: Vec::new() }
        } else {
            keys = self.keys;
            self.taking = Some(taking);
            Load { older: moved, younger: None, beyond: Vec::new() }
        };
        let lookers = std::mem::take(&mut self.lookers);
        self.moving = Some(Round { job: self.tasks.spawn(flusher.round(load)), lookers, keys });
    }

    fn moved(&mut self, flusher: Flusher, load: Load, moved: Result<(), Stuck>) {
        let Some(round) = self.moving.take() else { return };
        // The spool may have failed meanwhile: then what could not be taken is for the next round.
        let went_past = load.younger.is_some();
        let spool = load.older.path().display().to_string();
        self.resting = Some((flusher, load.older));
        self.taking = load.younger.or_else(|| self.taking.take());
        match moved {
            Ok(()) => {
                self.shared.spooled.moved(round.keys);
                if self.database_fails {
                    tracing::warn!("ledger: the database can be written again");
                    self.database_fails = false;
                }
                if went_past {
                    self.goes_past = false;
                    let past = std::mem::take(&mut self.waiting);
                    self.written(past);
                    self.is_written_again();
                }
                if self.taking.as_ref().is_some_and(|taking| !taking.is_empty()) {
                    self.move_at.get_or_insert_with(|| Instant::now() + MOVE_AFTER);
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
        tell(round.lookers.into_iter());
        self.serve_lookers();
    }

    fn refuse(&mut self) {
        if !self.is_nowhere {
            tracing::error!("ledger: neither the spool nor the database can be written; paid calls are refused");
            self.is_nowhere = true;
            self.shared.keeps(false);
        }
        self.turn_away();
    }

    /// Tells whoever waits that nothing is written: what they asked to be written is not told, so it did not happen. The
    /// rest, above all the calls that were paid, is kept, up to a bound.
    fn turn_away(&mut self) {
        let (waited_for, kept): (Vec<_>, _) = self.waiting.drain(..).partition(WriteRequest::is_waited_for);
        self.waiting = kept;
        self.shared.waiting.fetch_sub(waited_for.len(), Ordering::Relaxed);
        waited_for.into_iter().for_each(|order| order.end(Err(NotWritten)));
        if self.waiting.len() > MOST_KEPT {
            let lost = self.waiting.split_off(MOST_KEPT);
            self.lose(lost);
        }
    }

    fn is_written_again(&mut self) {
        self.is_nowhere = false;
        if !self.shared.is_keeping() && self.shared.journal().probe().is_ok() {
            self.shared.keeps(true);
        }
    }

    /// Once a second: finds out whether more can be written than before, and whether something is too old.
    fn look_after(&mut self) {
        if self.is_nowhere {
            if self.appending.is_none() && self.moving.is_none() && !self.goes_past {
                self.append();
            }
            return;
        }
        if self.database_fails || self.resting.as_ref().is_some_and(|(flusher, _)| flusher.is_due()) {
            self.move_at = Some(Instant::now());
        }
        if !self.shared.is_keeping() {
            self.is_written_again();
        }
    }

    /// The process ends: all that waits anywhere goes into the database.
    async fn end(mut self) {
        let (Some((flusher, older)), Some(taking)) = (self.resting.take(), self.taking.take()) else { return };
        let orders = std::mem::take(&mut self.waiting);
        let (mut flusher, load, moved) =
            flusher.round(Load { older, younger: Some(taking), beyond: texts(&orders) }).await;
        let mut is_written = moved.is_ok();
        if let Err(error) = moved {
            tracing::error!(%error, "ledger: the database cannot be written; the next start moves what waits in the spool");
            let texts = orders.iter().map(|order| order.text.as_str());
            is_written = load.younger.is_some_and(|mut spool| spool.append(texts).is_ok());
        }
        if is_written {
            self.written(orders);
        } else {
            self.lose(orders);
        }
        tell(self.lookers.drain(..));
        if let Some((number, seal)) = flusher.store.last() {
            tracing::info!(number, seal = seal.to_hex(), "ledger: closed");
        }
        flusher.store.close().await;
    }

    /// A task of ours has died, and with it the files that it had: a defect. The next start finds what they hold.
    fn fall(mut self) {
        self.shared.keeps(false);
        let waiting = std::mem::take(&mut self.waiting);
        self.lose(waiting);
        tracing::error!("ledger: its writer has died; paid calls are refused. Start idgate again");
    }

    /// The journal is all that is left of these.
    fn lose(&self, lost: Vec<WriteRequest>) {
        if !lost.is_empty() {
            self.shared.waiting.fetch_sub(lost.len(), Ordering::Relaxed);
            self.shared.lost(lost.len());
        }
    }
}

/// What a task comes to; nothing if it has died. Never, if there is none.
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

fn texts(orders: &[WriteRequest]) -> Vec<String> {
    orders.iter().map(|order| order.text.clone()).collect()
}

fn tell(lookers: impl Iterator<Item = oneshot::Sender<()>>) {
    // Who has left does not want to know.
    lookers.for_each(|looker| _ = looker.send(()));
}
