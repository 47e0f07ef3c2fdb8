//! Verdicts in this process's memory, on moka.
//!
//! Entries are packed, because there may be a million of them. moka's own coalescing is not used: when the first caller
//! leaves, it restarts the work, and here the work is a paid call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use moka::Expiry;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use uuid::Uuid;

use super::config::Lifetimes;
use super::remembered::Remembered;
use crate::domain::clock::{Moment, Monotonic};
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};

#[derive(Debug)]
pub(super) struct Memory(Cache<Digest, Entry>);

/// A packed [`Remembered`].
#[derive(Debug, Clone)]
struct Entry {
    provider: Arc<str>,
    reference: Reference,
    verified_at_ms: i64,
    /// The low half of the monotonic time: no entry lives for the 49 days after which it repeats.
    monotonic_ms: u32,
    verdict: Verdict,
}

/// A provider's reference. Nearly all are UUIDs, which take 16 bytes instead of 36 characters of text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reference {
    None,
    UpperUuid(Uuid),
    LowerUuid(Uuid),
    Text(RequestId),
}

struct ByVerdict(Lifetimes);

impl Memory {
    pub(super) fn new(lifetimes: &Lifetimes) -> Self {
        let cache = Cache::builder()
            .max_capacity(lifetimes.load().max_entries)
            // The default policy may reject a new entry when the cache is full: the answer just paid for would be lost.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByVerdict(Arc::clone(lifetimes)))
            .build();
        Self(cache)
    }

    pub(super) async fn get(&self, key: &Digest, now: Monotonic) -> Option<Remembered> {
        let entry = self.0.get(key).await?;
        Some(Remembered {
            verdict: entry.verdict,
            provider: entry.provider,
            request_id: entry.reference.unpacked(),
            verified_at: Moment {
                at: Timestamp::from_millisecond(entry.verified_at_ms).ok()?,
                monotonic: widened(entry.monotonic_ms, now),
            },
        })
    }

    pub(super) async fn put(&self, key: Digest, verdict: Remembered) {
        self.0.insert(key, Entry::packed(verdict)).await;
    }

    /// Like [`Self::put`], unless there is an entry already.
    pub(super) async fn add(&self, key: Digest, verdict: Remembered) {
        self.0.entry(key).or_insert(Entry::packed(verdict)).await;
    }

    pub(super) async fn forget(&self, key: &Digest) -> bool {
        self.0.remove(key).await.is_some()
    }

    pub(super) fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

impl Entry {
    fn packed(verdict: Remembered) -> Self {
        Self {
            verdict: verdict.verdict,
            provider: verdict.provider,
            reference: Reference::packed(verdict.request_id),
            verified_at_ms: verdict.verified_at.at.as_millisecond(),
            monotonic_ms: low_half(verdict.verified_at.monotonic),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low half is what is wanted")]
const fn low_half(at: Monotonic) -> u32 {
    at.0 as u32
}

/// The last time up to `now` that ends in `low`.
fn widened(low: u32, now: Monotonic) -> Monotonic {
    Monotonic(now.0 - i64::from(low_half(now).wrapping_sub(low)))
}

impl Expiry<Digest, Entry> for ByVerdict {
    fn expire_after_create(&self, _key: &Digest, entry: &Entry, _at: Instant) -> Option<Duration> {
        Some(self.0.load().lifetime(entry.verdict))
    }

    // By default, an overwritten entry keeps its old deadline.
    fn expire_after_update(
        &self,
        _key: &Digest,
        entry: &Entry,
        _at: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.0.load().lifetime(entry.verdict))
    }
}

impl Reference {
    fn packed(reference: Option<RequestId>) -> Self {
        let Some(reference) = reference else { return Self::None };
        // Only the hyphenated form, and only if unpacking gives back exactly the same text.
        let text = reference.as_str();
        let uuid = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
        [Self::UpperUuid, Self::LowerUuid]
            .into_iter()
            .filter_map(|form| Some(form(uuid?)))
            .find(|packed| packed.unpacked().as_ref() == Some(&reference))
            .unwrap_or(Self::Text(reference))
    }

    fn unpacked(&self) -> Option<RequestId> {
        let mut buffer = Uuid::encode_buffer();
        match self {
            Self::None => None,
            Self::UpperUuid(uuid) => RequestId::parse(uuid.hyphenated().encode_upper(&mut buffer)),
            Self::LowerUuid(uuid) => RequestId::parse(uuid.hyphenated().encode_lower(&mut buffer)),
            Self::Text(reference) => Some(reference.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;
    use crate::storage::{Config, Sharing};

    #[test]
    fn a_reference_comes_back_as_it_was_given_whatever_its_form() {
        for text in [
            "130A2C10-B9EE-4D84-88E3-5384FF039795",
            "130a2c10-b9ee-4d84-88e3-5384ff039795",
            "130A2c10-b9ee-4d84-88e3-5384ff039795",
            "12345678-1234-1234-1234-12345678abcd",
            "130A2C10B9EE4D8488E3A384FF039795",
            "order-42_x.y",
        ] {
            let given = RequestId::parse(text);
            assert_eq!(Reference::packed(given.clone()).unpacked(), given, "{text}");
        }
        assert_eq!(Reference::packed(None).unpacked(), None);
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entry>() <= 56, "{}", size_of::<Entry>());
    }

    #[tokio::test]
    async fn a_full_memory_forgets_the_least_recently_used_and_never_the_newcomer() {
        let ttl = Duration::from_secs(600);
        let config = Config {
            match_ttl: ttl,
            mismatch_ttl: ttl,
            no_record_ttl: ttl,
            unknown_ttl: ttl,
            max_entries: 3,
            sharing: Sharing::Shared,
        };
        let memory = Memory::new(&Arc::new(arc_swap::ArcSwap::from_pointee(config)));
        let key = |n: u8| DigestKey::new([7; 32]).digest("test/v1", &[&[n]]);
        let verdict = Remembered {
            verdict: Verdict::Match,
            provider: Arc::from("p"),
            request_id: None,
            verified_at: Moment { at: Timestamp::UNIX_EPOCH, monotonic: Monotonic(0) },
        };
        for n in 0..3 {
            memory.put(key(n), verdict.clone()).await;
            memory.0.run_pending_tasks().await;
        }
        // A read makes entry 0 the most recently used.
        assert!(memory.get(&key(0), Monotonic(0)).await.is_some());
        memory.put(key(3), verdict).await;
        memory.0.run_pending_tasks().await;
        let mut kept = Vec::new();
        for n in 0..4 {
            kept.push(memory.get(&key(n), Monotonic(0)).await.is_some());
        }
        assert_eq!((kept, memory.entries()), (vec![true, false, true, true], 3));
    }
}
