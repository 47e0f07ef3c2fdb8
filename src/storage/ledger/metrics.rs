//! The ledger's metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use strum::VariantNames;
use tokio::time::Instant;

use super::entry::Entry;

/// In seconds, from a fast solid-state disk to a failing disk.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Debug, Clone)]
pub(super) struct Meter {
    entries: IntCounterVec,
    commit: Histogram,
    behind: IntGauge,
    spooled: IntCounter,
    lost: IntCounter,
    /// Of which kinds. Not exported: the log has it, and the end of the process.
    lost_by_kind: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    available: IntGauge,
    removal_held: IntGauge,
    spool_bytes: IntGauge,
    spool_most: IntGauge,
    oldest: Gauge,
    postgres_up: IntGauge,
    sent_again: IntCounter,
    connections: IntGaugeVec,
    partition_missing: IntGauge,
    progress: Arc<Progress>,
}

/// How many entries the spool has taken since the start, and how many of them the database has.
#[derive(Debug, Default)]
struct Progress {
    spooled: AtomicU64,
    moved: AtomicU64,
    /// How many entries the spool had taken by a moment: one for each look while it is not empty.
    looks: Mutex<VecDeque<(u64, Instant)>>,
}

impl Meter {
    /// Declares the metrics.
    ///
    /// # Errors
    /// If a name is invalid, which is a bug.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let meter = Self {
            entries: IntCounterVec::new(
                Opts::new("idgate_ledger_entries_total", "Entries that are on the disk, by kind."),
                &["kind"],
            )?,
            commit: Histogram::with_opts(
                HistogramOpts::new(
                    "idgate_ledger_commit_seconds",
                    "How long it took until entries that were written together were on the disk.",
                )
                .buckets(BUCKETS.to_vec()),
            )?,
            behind: IntGauge::new(
                "idgate_ledger_behind_entries",
                "Entries that are on the disk, in the spool, and not in the database yet.",
            )?,
            spooled: IntCounter::new(
                "idgate_ledger_spooled_total",
                "Entries that waited in the spool because the database could not be written.",
            )?,
            lost: IntCounter::new("idgate_ledger_lost_total", "Entries that could be written nowhere.")?,
            lost_by_kind: Arc::default(),
            available: IntGauge::new(
                "idgate_ledger_available",
                "0 while new paid calls are refused, because the ledger can be written nowhere.",
            )?,
            removal_held: IntGauge::new(
                "idgate_ledger_removal_held",
                "1 while nothing is removed, because the clock has jumped and no operator has confirmed the time.",
            )?,
            spool_bytes: IntGauge::new(
                "idgate_ledger_spool_bytes",
                "Bytes of entries in the spool; paid calls are refused at ledger.spool_most.",
            )?,
            spool_most: IntGauge::new("idgate_ledger_spool_most_bytes", "The value of ledger.spool_most.")?,
            oldest: Gauge::new(
                "idgate_ledger_oldest_unmoved_seconds",
                "For how long the oldest entry has waited in the spool for the database.",
            )?,
            postgres_up: IntGauge::new(
                "idgate_ledger_postgres_up",
                "0 while PostgreSQL is the record and does not answer.",
            )?,
            sent_again: IntCounter::new(
                "idgate_ledger_sent_again_total",
                "Entries that PostgreSQL had acknowledged and lost, in a failover, and that were sent again.",
            )?,
            connections: IntGaugeVec::new(
                Opts::new("idgate_postgres_connections", "Connections to PostgreSQL, by their use."),
                &["pool", "state"],
            )?,
            partition_missing: IntGauge::new(
                "idgate_ledger_partition_missing",
                "1 while PostgreSQL has no partition for the entries of the next days.",
            )?,
            progress: Arc::default(),
        };
        for pool in ["keys", "lookups"] {
            ["used", "idle"].iter().for_each(|state| _ = meter.connections.with_label_values(&[pool, state]));
        }
        meter.postgres_up.set(1);
        for kind in Entry::VARIANTS {
            meter.entries.with_label_values(&[kind]);
        }
        meter.available.set(1);
        Ok(meter)
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.entries.clone()))?;
        registry.register(Box::new(self.commit.clone()))?;
        registry.register(Box::new(self.behind.clone()))?;
        registry.register(Box::new(self.spooled.clone()))?;
        registry.register(Box::new(self.lost.clone()))?;
        registry.register(Box::new(self.available.clone()))?;
        registry.register(Box::new(self.removal_held.clone()))?;
        registry.register(Box::new(self.spool_bytes.clone()))?;
        registry.register(Box::new(self.spool_most.clone()))?;
        registry.register(Box::new(self.oldest.clone()))?;
        registry.register(Box::new(self.postgres_up.clone()))?;
        registry.register(Box::new(self.sent_again.clone()))?;
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.partition_missing.clone()))
    }

    /// Looks how much waits in the spool, and for how long. Called each second.
    pub(super) fn look(&self, spool_bytes: u64, most: u64) {
        self.spool_bytes.set(i64::try_from(spool_bytes).unwrap_or(i64::MAX));
        self.spool_most.set(i64::try_from(most).unwrap_or(i64::MAX));
        let moved = self.progress.moved.load(Ordering::Acquire);
        let taken = self.taken();
        let mut looks = self.progress.looks.lock().unwrap_or_else(PoisonError::into_inner);
        while looks.pop_front_if(|(up_to, _)| *up_to <= moved).is_some() {}
        if taken > moved && looks.back().is_none_or(|(up_to, _)| *up_to < taken) {
            looks.push_back((taken, Instant::now()));
        }
        self.oldest.set(looks.front().map_or(0.0, |(_, since)| since.elapsed().as_secs_f64()));
    }

    /// For how long the oldest entry has waited in the spool.
    pub(super) fn oldest(&self) -> Duration {
        Duration::try_from_secs_f64(self.oldest.get()).unwrap_or_default()
    }

    /// How many entries wait in the spool.
    pub(super) fn waiting(&self) -> u64 {
        self.behind.get().unsigned_abs()
    }

    /// Notes what is known of PostgreSQL. Called each second.
    pub(super) fn postgres(&self, is_up: bool, sent_again: u64, connections: &[(&'static str, u32, usize)]) {
        self.postgres_up.set(i64::from(is_up));
        self.sent_again.inc_by(sent_again.saturating_sub(self.sent_again.get()));
        for (pool, all, idle) in connections {
            let (all, idle) = (i64::from(*all), i64::try_from(*idle).unwrap_or_default());
            self.connections.with_label_values(&[pool, "used"]).set(all.saturating_sub(idle));
            self.connections.with_label_values(&[pool, "idle"]).set(idle);
        }
    }

    pub(super) fn partition_missing(&self, is: bool) {
        self.partition_missing.set(i64::from(is));
    }

    pub(super) fn written(&self, kinds: impl Iterator<Item = &'static str>) {
        let mut counts = [0; Entry::VARIANTS.len()];
        for kind in kinds {
            if let Some(place) = Entry::VARIANTS.iter().position(|known| *known == kind)
                && let Some(count) = counts.get_mut(place)
            {
                *count += 1;
            }
        }
        for (kind, count) in Entry::VARIANTS.iter().zip(counts).filter(|(_, count)| *count > 0) {
            self.entries.with_label_values(&[kind]).inc_by(count);
        }
    }

    pub(super) fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// Counts `entries` more in the spool; `is_stuck` if the database cannot be written.
    pub(super) fn behind(&self, entries: usize, is_stuck: bool) {
        self.progress.spooled.fetch_add(entries as u64, Ordering::AcqRel);
        self.behind.add(i64::try_from(entries).unwrap_or(i64::MAX));
        if is_stuck {
            self.spooled.inc_by(entries as u64);
        }
    }

    /// Counts the entries that stay in the spool because the database has just failed.
    pub(super) fn is_stuck(&self) {
        self.spooled.inc_by(self.behind.get().unsigned_abs());
    }

    /// Counts entries that moved from the spool into the database.
    pub(super) fn moved(&self, entries: usize) {
        self.progress.moved.fetch_add(entries as u64, Ordering::AcqRel);
        self.behind.sub(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// How many entries the spool has taken since the start.
    pub(super) fn taken(&self) -> u64 {
        self.progress.spooled.load(Ordering::Acquire)
    }

    /// Whether the database has the first `taken` entries of the spool: they move in order.
    pub(super) fn has_moved(&self, taken: u64) -> bool {
        self.progress.moved.load(Ordering::Acquire) >= taken
    }

    /// Whether the database has every entry of the spool.
    pub(super) fn is_level(&self) -> bool {
        self.behind.get() == 0
    }

    pub(super) fn lost(&self, kind: &'static str) {
        self.lost.inc();
        *self.lost_by_kind.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
    }

    /// The entries lost so far, by kind.
    pub(super) fn all_lost(&self) -> BTreeMap<&'static str, u64> {
        self.lost_by_kind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(super) fn is_removal_held(&self) -> bool {
        self.removal_held.get() == 1
    }

    pub(super) fn removal_held(&self, is: bool) {
        self.removal_held.set(i64::from(is));
    }

    pub(super) fn available(&self, is: bool) {
        self.available.set(i64::from(is));
    }
}
