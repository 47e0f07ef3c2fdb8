//! The one task that writes: it takes what has gathered while it was writing, and writes that in one transaction.
//!
//! So under load many answers share one wait for the disk, and a single one waits for nobody. When the database cannot be
//! written, entries go to the spool; when not even that, whoever waits is told, and paid calls are refused until it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::entry::Entry;
use super::spool::Spool;
use super::sqlite::Store;
use super::{Meter, NotWritten};

/// Entries of one transaction.
const BATCH: usize = 512;

/// So often a database that could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An entry, and who waits for it.
pub(super) struct Order {
    pub(super) entry: Entry,
    pub(super) done: Option<oneshot::Sender<Result<(), NotWritten>>>,
}

pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) spool: Spool,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    /// Whether what is said now would be kept.
    pub(super) keeps: Arc<AtomicBool>,
    pub(super) meter: Meter,
}

impl Writer {
    /// Writes until nobody can order anything any more, and all that was ordered is written.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        let mut retry = Instant::now();
        loop {
            let received = if self.spool.is_empty() && self.keeps.load(Ordering::Relaxed) {
                self.orders.recv_many(&mut batch, BATCH).await
            } else {
                // Looks after what waits in the spool, also when nothing new comes.
                match tokio::time::timeout_at(retry, self.orders.recv_many(&mut batch, BATCH)).await {
                    Ok(received) => received,
                    Err(_) => {
                        retry = Instant::now() + TRY_AGAIN;
                        self.recover().await;
                        continue;
                    }
                }
            };
            if received == 0 {
                self.recover().await;
                return;
            }
            self.write(&mut batch).await;
        }
    }

    async fn write(&mut self, batch: &mut Vec<Order>) {
        let (entries, waiting): (Vec<_>, Vec<_>) = batch.drain(..).map(|order| (order.entry, order.done)).unzip();
        let began = Instant::now();
        let to_database = if self.spool.is_empty() { self.store.append(&entries).await.is_ok() } else { false };
        let result = if to_database {
            self.meter.written(entries.len(), began.elapsed());
            Ok(())
        } else {
            self.spool.append(&entries).map_err(|error| {
                tracing::error!(%error, entries = entries.len(), "ledger: neither the database nor the spool can be written; paid calls are refused");
                self.meter.lost(entries.len());
                NotWritten
            })
        };
        if result.is_ok() && !to_database {
            self.meter.spooled(entries.len());
            tracing::error!(entries = entries.len(), spool = %self.spool.path().display(), "ledger: the database cannot be written; entries wait in the spool");
        }
        self.keeps.store(result.is_ok(), Ordering::Relaxed);
        for done in waiting.into_iter().flatten() {
            // Who has left does not want to know.
            let _ = done.send(result);
        }
    }

    /// Empties the spool into the database, and finds out whether anything can be written again.
    async fn recover(&mut self) {
        let entries = match self.spool.read() {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, spool = %self.spool.path().display(), "ledger: the spool cannot be read; keep the file, it holds answers");
                return;
            }
        };
        for part in entries.chunks(BATCH) {
            if self.store.append(part).await.is_err() {
                return;
            }
        }
        if !entries.is_empty() {
            match self.spool.clear() {
                Ok(()) => tracing::warn!(entries = entries.len(), "ledger: the database can be written again; the spool is empty"),
                Err(error) => tracing::error!(%error, "ledger: the spool was written to the database and cannot be emptied"),
            }
        }
        self.keeps.store(true, Ordering::Relaxed);
    }
}
