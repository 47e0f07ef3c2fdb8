//! Moves entries from the spool into the database. One round moves what a file holds, in few transactions, so that many
//! entries share the pages they touch. Only lookups and entries that the spool cannot take wait for a round.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::database::Times;
use super::error::remedy;
use super::pace::Pace;
use super::record::{self, Malformed};
use super::retention::longest_jump;
use super::shared::Shared;
use super::spool::Spool;
use super::store::AnyStore;
use crate::domain::clock::Clock;

/// How often expired entries are removed, and how many at a time.
const REMOVE_EVERY: Duration = Duration::from_secs(600);
const REMOVE_AT_ONCE: i64 = 1000;
/// How many entries are summed in one transaction, and for how long in one round.
const SUM_AT_ONCE: i64 = 2000;
const SUM_FOR: Duration = Duration::from_millis(200);

pub(super) struct Flusher {
    pub(super) store: AnyStore,
    shared: Arc<Shared>,
    keep: Duration,
    clock: Clock,
    /// What the newest entry's time is measured by; `None` before the first look.
    base: Option<Base>,
    /// Whether nothing is removed, because the clock has jumped.
    is_held: bool,
    /// When to look for expired entries.
    remove_at: Instant,
    /// Whether the sums include every entry, and so will those that are appended.
    is_summed: bool,
    /// The day (UTC) on which the last entries were told to the log.
    told_on: i64,
}

/// A time that is believed, and the moment at which it was looked at.
struct Base {
    at: Instant,
    believed_ms: i64,
}

/// What a round moves, in this order.
pub(super) struct Load {
    pub(super) older: Spool,
    /// The other file, moved only if entries follow that it could not take.
    pub(super) younger: Option<Spool>,
    /// The records of those entries.
    pub(super) beyond: Vec<u8>,
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
    pub(super) fn new(store: AnyStore, shared: Arc<Shared>, keep: Duration, clock: Clock) -> Self {
        let told_on = day(&clock);
        Self {
            store,
            shared,
            keep,
            clock,
            base: None,
            is_held: false,
            remove_at: Instant::now(),
            is_summed: false,
            told_on,
        }
    }

    /// Moves the load, then removes expired entries. After an error, what was not moved is still where it was.
    pub(super) async fn round(mut self, load: Load) -> (Self, Load, Result<(), Stuck>) {
        let (load, moved) = self.move_all(load).await;
        if moved.is_ok() {
            self.catch_up().await;
            self.remove_old().await;
            if day(&self.clock) != self.told_on {
                self.told_on = day(&self.clock);
                self.tell_heads("ledger: a day is over").await;
            }
        }
        (self, load, moved)
    }

    /// Says what the last entries are: a log that is kept elsewhere shows later that nothing was cut off.
    pub(super) async fn tell_heads(&mut self, what: &'static str) {
        match self.store.heads().await {
            Ok(heads) => heads.iter().for_each(|head| tracing::info!(head, "{what}")),
            Err(error) => tracing::debug!(error = remedy(&error), "ledger: the last entries cannot be told"),
        }
    }

    async fn move_all(&mut self, Load { older, younger, beyond }: Load) -> (Load, Result<(), Stuck>) {
        let (older, mut moved) = self.move_spool(older).await;
        let younger = match younger {
            Some(younger) if moved.is_ok() => {
                let (younger, next) = self.move_spool(younger).await;
                moved = next;
                Some(younger)
            }
            younger => younger,
        };
        if moved.is_ok() && !beyond.is_empty() {
            moved = self.append(&beyond, None).await;
        }
        (Load { older, younger, beyond }, moved)
    }

    async fn move_spool(&mut self, mut spool: Spool) -> (Spool, Result<(), Stuck>) {
        let mut done = None;
        let mut pace = Pace::new(spool.left(), Arc::clone(&self.shared.is_flush_hurried));
        loop {
            let most = pace.part();
            let next;
            (spool, next) = off_worker(spool, move |spool| {
                if let Some(done) = &done {
                    spool.moved(done);
                }
                if spool.is_empty() { Ok(None) } else { spool.next(most).map(Some) }
            })
            .await;
            let part = match next {
                Ok(Some(part)) => part,
                Ok(None) => return (spool, Ok(())),
                Err(error) => return (spool, Err(error.into())),
            };
            if let Err(error) = self.append(&part.records, Some(&mut pace)).await {
                return (spool, Err(error));
            }
            self.shared.meter.moved(part.count);
            done = Some(part);
        }
    }

    async fn append(&mut self, records: &[u8], pace: Option<&mut Pace>) -> Result<(), Stuck> {
        let rows = record::rows(records).map_err(|Malformed| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(self.store.append(&rows, pace).await?)
    }

    /// Whether there is something to do besides moving entries.
    pub(super) fn is_due(&self) -> bool {
        !self.is_summed || self.is_removal_due()
    }

    fn is_removal_due(&self) -> bool {
        Instant::now() >= self.remove_at
    }

    /// Sums the entries of an earlier idgate, some at a time, so that writes go first.
    async fn catch_up(&mut self) {
        let until = Instant::now() + SUM_FOR;
        while !self.is_summed && Instant::now() < until {
            match self.store.catch_up(SUM_AT_ONCE).await {
                Ok(more) => self.is_summed = !more,
                Err(error) => {
                    return tracing::error!(error = remedy(&error), "ledger: what was spent cannot be summed");
                }
            }
        }
    }

    async fn remove_old(&mut self) {
        if !self.is_removal_due() {
            return;
        }
        match self.try_remove_old().await {
            // There may be more; the next round continues, so that writes go first.
            Ok(removed) if removed == REMOVE_AT_ONCE.unsigned_abs() => {}
            Ok(_) => self.remove_at = Instant::now() + REMOVE_EVERY,
            Err(error) => {
                tracing::error!(error = remedy(&error), "ledger: what is too old cannot be removed");
                self.remove_at = Instant::now() + REMOVE_EVERY;
            }
        }
    }

    /// Age counts from the newest entry, so that a clock which is ahead removes nothing by itself. Once there are
    /// entries of such a clock, nothing is removed either, until an operator has confirmed the time.
    async fn try_remove_old(&mut self) -> Result<u64, sqlx::Error> {
        let Some(Times { newest_ms, believed_ms }) = self.store.times().await? else { return Ok(0) };
        let is_first = believed_ms.is_none();
        let believed_ms = believed_ms.unwrap_or(newest_ms);
        let latest_ms = self.latest_to_believe(believed_ms);
        self.hold(newest_ms > latest_ms, newest_ms, believed_ms);
        if self.is_held {
            return Ok(0);
        }
        if newest_ms > believed_ms || is_first {
            self.store.believe(newest_ms).await?;
        }
        let at_ms = newest_ms.min(self.clock.now().as_millisecond());
        let removed = self.store.remove_old(at_ms, in_ms(self.keep), REMOVE_AT_ONCE).await?;
        if removed > 0 {
            self.shared.meter.written(["removed"].into_iter());
        }
        Ok(removed)
    }

    /// The latest time at which an entry can be. While this process runs, only as much time may pass as really passes.
    fn latest_to_believe(&mut self, believed_ms: i64) -> i64 {
        let most = longest_jump(self.keep);
        let latest = |base: &Base| base.believed_ms.saturating_add(in_ms(base.at.elapsed().saturating_add(most)));
        match &self.base {
            Some(base) if believed_ms <= latest(base) => latest(base),
            // At the first look, and after an operator has confirmed a later time.
            _ => latest(self.base.insert(Base { at: Instant::now(), believed_ms })),
        }
    }

    fn hold(&mut self, is_held: bool, newest_ms: i64, believed_ms: i64) {
        if is_held && !self.is_held {
            let at = |ms| Timestamp::from_millisecond(ms).map(|at| format!("{at:.0}")).unwrap_or_default();
            tracing::error!(
                newest = at(newest_ms),
                believed = at(believed_ms),
                "ledger: the clock has jumped, or nothing was asked for long: nothing is removed until the time of the \
                 newest entry is confirmed by `idgate ledger confirm-time`"
            );
        }
        self.is_held = is_held;
        self.shared.meter.removal_held(is_held);
    }
}

/// Works on `spool` where a disk that hangs holds up nobody.
async fn off_worker<T: Send + 'static>(
    mut spool: Spool,
    work: impl FnOnce(&mut Spool) -> T + Send + 'static,
) -> (Spool, T) {
    let work = tokio::task::spawn_blocking(move || {
        let result = work(&mut spool);
        (spool, result)
    });
    match work.await {
        Ok(worked) => worked,
        // The runtime cancels nothing that has begun, so it panicked, and took the file with it.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

fn day(clock: &Clock) -> i64 {
    clock.now().as_second().div_euclid(24 * 60 * 60)
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
