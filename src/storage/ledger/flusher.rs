//! Moves entries from the spool into the database. One round moves what a file holds, in few large transactions, so
//! that many entries share the pages they touch. Only lookups and entries that the spool cannot take wait for a round.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::database::Store;
use super::error::remedy;
use super::shared::Shared;
use super::spool::Spool;
use crate::domain::clock::Clock;

/// The maximum number of entries in one transaction.
pub(super) const PART: usize = 1024;
/// How often expired entries are removed, and how many at a time.
const REMOVE_EVERY: Duration = Duration::from_secs(600);
const REMOVE_AT_ONCE: i64 = 1000;

pub(super) struct Flusher {
    pub(super) store: Store,
    shared: Arc<Shared>,
    keep: Duration,
    clock: Clock,
    /// When to look for expired entries.
    remove_at: Instant,
}

/// What a round moves, in this order.
pub(super) struct Load {
    pub(super) older: Spool,
    /// The other file, moved only if entries follow that it could not take.
    pub(super) younger: Option<Spool>,
    /// The texts of those entries.
    pub(super) beyond: Vec<String>,
}

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stuck {
    #[error("{}", remedy(.0))]
    Database(#[from] sqlx::Error),
    #[error("the spool cannot be read: {0}; keep the file, it holds entries")]
    Spool(#[from] io::Error),
}

impl Flusher {
    pub(super) fn new(store: Store, shared: Arc<Shared>, keep: Duration, clock: Clock) -> Self {
        Self { store, shared, keep, clock, remove_at: Instant::now() }
    }

    /// Moves the load, then removes expired entries. After an error, what was not moved is still where it was.
    pub(super) async fn round(mut self, mut load: Load) -> (Self, Load, Result<(), Stuck>) {
        let moved = self.move_all(&mut load).await;
        if moved.is_ok() {
            self.remove_old().await;
        }
        (self, load, moved)
    }

    async fn move_all(&mut self, load: &mut Load) -> Result<(), Stuck> {
        for spool in [&mut load.older].into_iter().chain(&mut load.younger) {
            while !spool.is_empty() {
                let part = spool.next(PART)?;
                self.store.append(&part.texts).await?;
                spool.moved(&part);
                self.shared.meter.moved(part.texts.len());
            }
        }
        if !load.beyond.is_empty() {
            self.store.append(&load.beyond).await?;
        }
        Ok(())
    }

    /// Whether it is time to look for expired entries.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.remove_at
    }

    async fn remove_old(&mut self) {
        if !self.is_due() {
            return;
        }
        let before = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let before = self.clock.now().as_millisecond().saturating_sub(before);
        match self.store.remove_before(before, REMOVE_AT_ONCE).await {
            // There may be more; the next round continues, so that writes go first.
            Ok(removed) if removed == REMOVE_AT_ONCE.unsigned_abs() => {}
            Ok(_) => self.remove_at = Instant::now() + REMOVE_EVERY,
            Err(error) => {
                tracing::error!(error = remedy(&error), "ledger: what is too old cannot be removed");
                self.remove_at = Instant::now() + REMOVE_EVERY;
            }
        }
    }
}
