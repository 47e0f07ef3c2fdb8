//! Verdicts in this process's memory, on moka.
//!
//! moka's own coalescing is not used: it restarts the work when the first caller leaves, and the work is paid.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::{Config, Remembered};
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};
use std::sync::Arc;

/// The memory back end.
#[derive(Debug)]
pub(super) struct Memory(Cache<Digest, Entry>);

/// A [`Remembered`] packed small: there may be a million.
#[derive(Debug, Clone)]
struct Entry {
    provider: Arc<str>,
    request_id: Option<RequestId>,
    verified_at_ms: i64,
    verdict: Verdict,
}

struct ByVerdict {
    config: Config,
}

impl Memory {
    pub(super) fn new(config: &Config) -> Self {
        let cache = Cache::builder()
            .max_capacity(config.max_entries)
            // The default policy turns newcomers away from a full cache: the answer just paid for would be lost.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByVerdict { config: config.clone() })
            .build();
        Self(cache)
    }

    pub(super) async fn get(&self, key: &Digest) -> Option<Remembered> {
        let entry = self.0.get(key).await?;
        Some(Remembered {
            verdict: entry.verdict,
            provider: entry.provider,
            request_id: entry.request_id,
            verified_at: Timestamp::from_millisecond(entry.verified_at_ms).ok()?,
        })
    }

    pub(super) async fn put(&self, key: Digest, verdict: Remembered) {
        let entry = Entry {
            verdict: verdict.verdict,
            provider: verdict.provider,
            request_id: verdict.request_id,
            verified_at_ms: verdict.verified_at.as_millisecond(),
        };
        self.0.insert(key, entry).await;
    }

    pub(super) async fn forget(&self, key: &Digest) {
        self.0.invalidate(key).await;
    }

    pub(super) fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

impl Expiry<Digest, Entry> for ByVerdict {
    fn expire_after_create(&self, _key: &Digest, entry: &Entry, _at: Instant) -> Option<Duration> {
        Some(self.config.lifetime(entry.verdict))
    }

    // The default keeps the deadline of the entry that was overwritten.
    fn expire_after_update(
        &self,
        _key: &Digest,
        entry: &Entry,
        _at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.config.lifetime(entry.verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;
    use crate::storage::Sharing;

    #[tokio::test]
    async fn a_full_memory_forgets_the_least_recently_used_and_never_the_newcomer() {
        let ttl = Duration::from_secs(600);
        let config =
            Config { match_ttl: ttl, mismatch_ttl: ttl, no_record_ttl: ttl, max_entries: 3, sharing: Sharing::Shared };
        let memory = Memory::new(&config);
        let key = |n: u8| DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
        let verdict = Remembered {
            verdict: Verdict::Match,
            provider: Arc::from("p"),
            request_id: None,
            verified_at: Timestamp::UNIX_EPOCH,
        };
        for n in 0..3 {
            memory.put(key(n), verdict.clone()).await;
            memory.0.run_pending_tasks().await;
        }
        // Used, and so not the next to go.
        assert!(memory.get(&key(0)).await.is_some());
        memory.put(key(3), verdict).await;
        memory.0.run_pending_tasks().await;
        let mut kept = Vec::new();
        for n in 0..4 {
            kept.push(memory.get(&key(n)).await.is_some());
        }
        assert_eq!((kept, memory.entries()), (vec![true, false, true, true], 3));
    }
}
