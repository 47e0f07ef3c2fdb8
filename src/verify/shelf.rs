//! Where verdicts are put and found again. Only a verdict is storable, by type.

use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::question::Question;
use super::record::RecallMeter;
use crate::domain::clock::Clock;
use crate::domain::money::Billed;
use crate::domain::subject::Digest;
use crate::domain::verdict::Finding;
use crate::storage::{Cache, Remembered};

/// Where verdicts are put.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Clock,
    pub(super) meter: RecallMeter,
}

/// The place of one question on the shelf.
#[derive(Debug, Clone)]
pub(super) struct Keep {
    pub(super) shelf: Arc<Shelf>,
    pub(super) key: Digest,
}

impl Shelf {
    pub(super) async fn recall(&self, key: &Digest, question: &Question) -> Option<(Remembered, Duration)> {
        if question.freshness.no_cache {
            return None;
        }
        let now = self.clock.now();
        let found = self.cache.get(key, now).await?;
        question.freshness.accepts(found.0.age(now)).then_some(found)
    }
}

impl Keep {
    /// Remembers the verdict that the flight ends with.
    pub(super) async fn verdict(&self, by: &Account, finding: Finding) -> Remembered {
        let remembered = Remembered {
            verdict: finding.verdict,
            provider: Arc::clone(&by.name),
            request_id: finding.request_id,
            verified_at: self.shelf.clock.now(),
        };
        self.shelf.meter.verdict(&by.name, finding.verdict);
        self.shelf.cache.put(self.key, remembered.clone()).await;
        remembered
    }

    /// Remembers a verdict that came after its flight had ended, unless another is there already.
    pub(super) async fn late(&self, by: &Account, finding: Finding) {
        let Some((known, _)) = self.shelf.cache.get(&self.key, self.shelf.clock.now()).await else {
            self.verdict(by, finding).await;
            return;
        };
        if by.prices.billed(finding.verdict) == Billed::Yes {
            self.shelf.meter.duplicate_bill(&by.name);
        }
        let agrees = known.verdict == finding.verdict;
        tracing::warn!(
            provider = &*by.name,
            answered_by = &*known.provider,
            agrees,
            "a late verdict: this question was answered, and perhaps billed, twice"
        );
    }
}
