//! The one task that writes: it takes what has gathered while it was writing, and writes that in one transaction.
//!
//! So under load many answers share one wait for the disk, and a single one waits for nobody. When the database cannot be
//! written, entries go to the spool; when not even that, whoever waits is told, paid calls are refused, and the entries are
//! kept here until something can be written again, which is tried every second. Invariant: entries are written in the
//! order in which they were given.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::spool::Spool;
use super::sqlite::Store;
use super::trouble::remedy;
use super::{Flight, NotWritten, Shared};
use crate::domain::clock::Clock;

/// Entries of one transaction.
pub(super) const BATCH: usize = 512;
/// So often what could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// So many entries are kept when nothing can be written; what comes then is lost, and counted.
const MOST_KEPT: usize = 100_000;
/// So often, and so much of it at a time, what is too old is removed.
const REMOVE_EVERY: Duration = Duration::from_secs(600);
const REMOVE_AT_ONCE: i64 = 1000;

/// An entry, and who waits for it.
pub(super) struct Order {
    pub(super) entry: Entry,
    /// Open until the entry is on the disk.
    pub(super) flight: Flight,
    pub(super) done: Option<oneshot::Sender<Result<(), NotWritten>>>,
}

/// Where entries go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Database,
    /// The database has failed; it is tried again every second.
    Spool,
    /// Both have.
    Nowhere,
}

pub(super) struct Writer {
    store: Store,
    spool: Spool,
    orders: mpsc::UnboundedReceiver<Order>,
    shared: Arc<Shared>,
    keep: Duration,
    clock: Clock,
    /// Not written yet, in order.
    waiting: VecDeque<Order>,
    way: Way,
    /// When to look for what is too old.
    remove_at: Instant,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        spool: Spool,
        orders: mpsc::UnboundedReceiver<Order>,
        shared: Arc<Shared>,
        keep: Duration,
        clock: Clock,
    ) -> Self {
        let (waiting, way, remove_at) = (VecDeque::new(), Way::Database, Instant::now());
        Self { store, spool, orders, shared, keep, clock, waiting, way, remove_at }
    }

    /// Writes until `closing`, and then all that was given before.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let mut again = interval(TRY_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        let mut open = true;
        loop {
            // Nothing in here is given up half done: what is awaited are a clock, a queue and a bell.
            tokio::select! {
                biased;
                () = closing.cancelled(), if open => {
                    self.orders.close();
                    open = false;
                }
                _ = again.tick() => self.look_after().await,
                received = self.orders.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.waiting.extend(batch.drain(..));
                    self.write().await;
                }
            }
        }
        self.end().await;
    }

    /// Writes what waits, wherever it can be.
    async fn write(&mut self) {
        if self.way == Way::Database {
            match self.append().await {
                Ok(()) => return self.written(),
                Err(error) => {
                    let spool = self.spool.path().display();
                    tracing::error!(error = remedy(&error), %spool, "ledger: the database cannot be written; entries wait in the spool");
                    self.way = Way::Spool;
                }
            }
        }
        if self.way == Way::Spool {
            match self.spool.append(self.waiting.iter().map(|order| &order.entry)) {
                Ok(()) => return self.is_spooled(),
                Err(error) => self.refuse(&error),
            }
        }
        self.turn_away();
    }

    async fn append(&mut self) -> Result<(), sqlx::Error> {
        let began = Instant::now();
        self.store.append(self.waiting.iter().map(|order| &order.entry)).await?;
        self.shared.meter.committed(began.elapsed());
        Ok(())
    }

    /// All that waited is on the disk.
    fn written(&mut self) {
        self.shared.meter.written(self.waiting.iter().map(|order| &order.entry));
        self.shared.waiting.fetch_sub(self.waiting.len(), Ordering::Relaxed);
        for Order { done, .. } in self.waiting.drain(..) {
            // Who has left does not want to know.
            let _ = done.map(|done| done.send(Ok(())));
        }
    }

    /// All that waited is on the disk, where the database does not find it.
    fn is_spooled(&mut self) {
        self.shared.meter.spooled(self.waiting.len());
        self.shared.spooled.take(self.waiting.iter().map(|order| &order.entry));
        self.written();
    }

    fn refuse(&mut self, error: &io::Error) {
        tracing::error!(%error, spool = %self.spool.path().display(), "ledger: neither the database nor the spool can be written; paid calls are refused");
        self.way = Way::Nowhere;
        self.shared.keeps(false);
    }

    /// Tells whoever waits that nothing is written: what they asked to be written is not told, so it did not happen. The
    /// rest, above all the calls that were paid, is kept, up to a bound.
    fn turn_away(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain_mut(|order| order.done.take().map(|done| done.send(Err(NotWritten))).is_none());
        self.shared.waiting.fetch_sub(before - self.waiting.len(), Ordering::Relaxed);
        let lost = self.waiting.len().saturating_sub(MOST_KEPT);
        if lost > 0 {
            self.lose(MOST_KEPT);
        }
    }

    /// Once a second: finds out whether more can be written than before, then whether something is too old.
    async fn look_after(&mut self) {
        if self.way != Way::Database || !self.spool.is_empty() {
            self.recover().await;
        } else if !self.shared.is_keeping() && self.shared.journal().probe().is_ok() {
            self.shared.keeps(true);
        }
        if self.way == Way::Database && Instant::now() >= self.remove_at {
            self.remove_old().await;
        }
    }

    async fn recover(&mut self) {
        if self.replay().await.is_ok() && self.append().await.is_ok() {
            self.written();
            tracing::warn!("ledger: the database can be written again; nothing waits");
            self.way = Way::Database;
        } else if self.way == Way::Nowhere && self.spool.append(self.waiting.iter().map(|order| &order.entry)).is_ok() {
            self.is_spooled();
            tracing::warn!("ledger: the spool can be written again");
            self.way = Way::Spool;
        }
        if self.way != Way::Nowhere && !self.shared.is_keeping() && self.shared.journal().probe().is_ok() {
            self.shared.keeps(true);
        }
    }

    /// Empties the spool into the database.
    async fn replay(&mut self) -> Result<(), ()> {
        if self.spool.is_empty() {
            return Ok(());
        }
        let told = |error: io::Error| {
            tracing::error!(%error, "ledger: the spool cannot be read; keep the file, it holds entries");
        };
        let mut entries = self.spool.read().map_err(told)?;
        loop {
            let part: Vec<Entry> = entries.by_ref().take(BATCH).collect::<Result<_, _>>().map_err(told)?;
            if part.is_empty() {
                break;
            }
            self.store.append(part.iter()).await.map_err(drop)?;
        }
        self.spool.clear().map_err(told)?;
        self.shared.spooled.clear();
        Ok(())
    }

    async fn remove_old(&mut self) {
        let before = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let before = self.clock.now().as_millisecond().saturating_sub(before);
        match self.store.remove_before(before, REMOVE_AT_ONCE).await {
            // There is more; others write first.
            Ok(removed) if removed == REMOVE_AT_ONCE.unsigned_abs() => {}
            Ok(_) => self.remove_at = Instant::now() + REMOVE_EVERY,
            Err(error) => {
                tracing::error!(error = remedy(&error), "ledger: what is too old cannot be removed");
                self.remove_at = Instant::now() + REMOVE_EVERY;
            }
        }
    }

    /// The process ends.
    async fn end(&mut self) {
        if self.way != Way::Database {
            self.recover().await;
        }
        if !self.waiting.is_empty() {
            self.lose(0);
        }
        if let Some((number, seal)) = self.store.last() {
            tracing::info!(number, seal = seal.to_hex(), "ledger: closed");
        }
        self.store.close().await;
    }

    fn lose(&mut self, kept: usize) {
        let lost = self.waiting.split_off(kept.min(self.waiting.len()));
        self.shared.waiting.fetch_sub(lost.len(), Ordering::Relaxed);
        self.shared.lost(lost.len());
        // The journal is all that is left of them.
        lost.iter().for_each(|order| order.flight.leave_open());
    }
}
