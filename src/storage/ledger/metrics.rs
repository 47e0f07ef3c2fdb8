//! The ledger's metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use strum::VariantNames;

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
    progress: Arc<Progress>,
}

/// How many entries the spool has taken since the start, and how many of them the database has.
#[derive(Debug, Default)]
struct Progress {
    spooled: AtomicU64,
    moved: AtomicU64,
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
            progress: Arc::default(),
        };
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
        registry.register(Box::new(self.removal_held.clone()))
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
