//! The verdict cache. Its types accept verdicts only, never faults.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::erasure::Work;
use super::metrics::LookupMeter;
use super::question::Question;
use crate::domain::clock::Clock;
use crate::domain::verdict::Finding;
use crate::storage::shared::{Lease, Shared, Told};
use crate::storage::{Cache, CacheKey, Remembered};

#[derive(Debug)]
pub(super) struct VerdictCache {
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Clock,
    pub(super) meter: LookupMeter,
}

/// The cache entry of one question.
#[derive(Debug, Clone)]
pub(super) struct CacheSlot {
    pub(super) verdict_cache: Arc<VerdictCache>,
    pub(super) key: CacheKey,
    pub(super) work: Arc<Work>,
    /// The first verdict of this flight. Kept even if caching is off.
    first: Arc<OnceLock<Remembered>>,
    /// Set once the other replicas wait for this flight.
    lease: Arc<OnceLock<(Shared, Lease)>>,
}

impl VerdictCache {
    pub(super) fn get(&self, key: &CacheKey, question: &Question) -> Option<(Remembered, Duration)> {
        if question.freshness.no_cache {
            return None;
        }
        let now = self.clock.monotonic();
        let found = self.cache.get(key, now)?;
        question.freshness.accepts(found.0.age(now)).then_some(found)
    }
}

impl CacheSlot {
    pub(super) fn new(verdict_cache: Arc<VerdictCache>, key: CacheKey, work: Arc<Work>) -> Self {
        Self { verdict_cache, key, work, first: Arc::default(), lease: Arc::default() }
    }

    /// Caches the verdict that the flight ends with.
    pub(super) fn verdict(&self, by: &Arc<str>, finding: Finding) -> Remembered {
        let remembered = self.now(by, finding);
        // A late call may have set it a moment earlier; write anyway, because the cache must hold what callers get.
        let _ = self.first.set(remembered.clone());
        self.put(&remembered);
        remembered
    }

    /// Caches a verdict that arrived after its flight had ended, unless there already is one.
    pub(super) fn late(&self, by: &Arc<str>, finding: Finding) {
        let remembered = self.now(by, finding);
        let is_known = self.verdict_cache.cache.get(&self.key, self.verdict_cache.clock.monotonic()).is_some();
        if !is_known && self.first.set(remembered.clone()).is_ok() {
            self.put(&remembered);
            if let Some((shared, lease)) = self.lease.get() {
                shared.land_behind(lease, Told::Verdict(&remembered, self.shared_life(&remembered)));
            }
        }
    }

    /// Caches what another replica was told.
    pub(super) fn heard(&self, remembered: &Remembered) {
        self.verdict_cache.cache.put(&self.key, remembered.clone());
        if self.work.is_forgotten() {
            self.verdict_cache.cache.forget(&self.key);
        }
    }

    /// The other replicas wait for this flight.
    pub(super) fn leads(&self, lease: Option<(Shared, Lease)>) {
        if let Some(lease) = lease {
            let _ = self.lease.set(lease);
        }
    }

    /// For how long the other replicas may remember it.
    pub(super) fn shared_life(&self, remembered: &Remembered) -> Duration {
        if self.work.is_forgotten() { Duration::ZERO } else { self.verdict_cache.cache.lifetime(remembered.verdict) }
    }

    fn now(&self, by: &Arc<str>, finding: Finding) -> Remembered {
        Remembered {
            verdict: finding.verdict,
            provider: Arc::clone(by),
            request_id: finding.request_id,
            verified_at: self.verdict_cache.clock.moment(),
        }
    }

    fn put(&self, remembered: &Remembered) {
        self.verdict_cache.meter.verdict(&remembered.provider, remembered.verdict);
        self.verdict_cache.cache.put(&self.key, remembered.clone());
        // Checked after the write: an erasure sets the mark first and then removes the entry.
        if self.work.is_forgotten() {
            self.verdict_cache.cache.forget(&self.key);
        }
    }
}
