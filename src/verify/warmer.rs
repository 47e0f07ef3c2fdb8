//! Restores from the ledger what the process before this one knew: cached verdicts, holds, and who was billed. Without
//! that, the first question about each person after a restart would be paid for again.
//!
//! [`Warmer::run`] reads the newest entries in the background. Until it has ended, and for as long as entries matter
//! that its bounds left out, [`Warmer::look_up`] restores a person before a question about them is paid for.
//! Invariants: the age of a restored verdict is never less than it really is; a person who was forgotten does not come
//! back. What the ledger does not have, details that a provider gave of a person, was never cached.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use uuid::Uuid;

use super::billing::Billing;
use super::chain::Policy;
use super::erasure::Traces;
use super::holds::Holds;
use super::policy::OnNoRecord;
use super::warming::Warming;
use crate::domain::subject::{Digest, DigestKey};
use crate::domain::verdict::Verdict;
use crate::storage::ledger::{Past, PastCall, PastFlight, PastVerdict, ReadError, Since, Subject};
use crate::storage::{Cache, CacheKey, Remembered, Sharing};

/// How long a question waits for its look-up before it is paid for nevertheless.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a retry under an idempotency key waits for what is recorded since its first use.
const LONGEST_READ: Duration = Duration::from_secs(3);

/// How many people are restored without a pause.
const MOST_AT_ONCE: usize = 100;

/// Restores into the state of one configuration.
#[derive(Debug)]
pub(super) struct Warmer {
    pub(super) warming: Arc<Warming>,
    pub(super) cache: Arc<Cache>,
    pub(super) digest_key: DigestKey,
    pub(super) sharing: Sharing,
    pub(super) policy: Arc<Policy>,
    pub(super) purposes: BTreeMap<String, Arc<Policy>>,
    pub(super) holds: HashMap<Arc<str>, Arc<Holds>>,
    pub(super) billing: Arc<Billing>,
    pub(super) traces: Arc<Traces>,
    /// How old an entry can be that still matters.
    pub(super) reach: Duration,
}

impl Warmer {
    /// Restores everybody from the newest entries.
    pub(super) async fn run(&self) {
        let warming = &self.warming;
        if warming.is_over() {
            return;
        }
        let began = Instant::now();
        let found = match warming.since(self.reach).await {
            Ok(Some(since)) => {
                warming.ledger.recent(since, self.digest_key.id()).await.map(|found| Some((since, found)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let (people, is_complete) = match found {
            Ok(Some((since, found))) => {
                let people = found.people.len();
                for (n, (person, past)) in found.people.into_iter().enumerate() {
                    self.restore(person, &past, since);
                    // There may be a million, and questions need the worker.
                    if n % MOST_AT_ONCE == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                (people, found.is_complete)
            }
            Ok(None) => (0, true),
            Err(error) => {
                tracing::error!(%error, "ledger: what was paid for before this start cannot be read");
                (0, false)
            }
        };
        if is_complete {
            warming.end();
        } else {
            let _ = warming.looks_up_until.set(began + self.reach);
        }
        let (state, verdicts) = warming.progress();
        let state = <&str>::from(state);
        tracing::info!(people, verdicts, state, took = ?began.elapsed(), "what was paid for before is restored");
    }

    /// Restores `person` before a question is paid for, unless that was done. Returns whether something was restored.
    pub(super) async fn look_up(&self, person: Digest) -> bool {
        if self.warming.is_over() || self.warming.is_restored(&person) {
            return false;
        }
        // Boxed, so that a flight does not carry its room once all is restored.
        Box::pin(self.read_and_restore(person)).await
    }

    async fn read_and_restore(&self, person: Digest) -> bool {
        let warming = &self.warming;
        let subject = Subject::new(&self.digest_key, &person);
        let read = async {
            let _permit = warming.look_ups.acquire().await;
            match warming.since(self.reach).await? {
                Some(since) => warming.ledger.recent_about(since, &subject).await.map(|past| Some((since, past))),
                None => Ok(None),
            }
        };
        let failure = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(Some((since, past)))) => return self.restore(person, &past, since),
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        // Once: a line for each question would flood the log.
        if !warming.has_failed.swap(true, Ordering::Relaxed) {
            tracing::error!(error = failure, "ledger: a question was not looked up before it was paid for");
        }
        false
    }

    /// The newest verdict recorded since `since_ms` (milliseconds since 1970) that answers a question with this key
    /// in the cache, whether or not it is cached.
    ///
    /// # Errors
    /// If the ledger cannot be read in time.
    pub(super) async fn recorded(&self, key: CacheKey, since_ms: i64) -> Result<Option<Remembered>, ReadError> {
        let subject = Subject::new(&self.digest_key, &key.person);
        let read = self.warming.ledger.recorded_since(since_ms, &subject);
        let past = tokio::time::timeout(LONGEST_READ, read).await.unwrap_or(Err(ReadError::Behind))?;
        let newest = self.newest(key.person, &past).remove(&key).filter(|verdict| verdict.at_ms >= since_ms);
        Ok(newest.and_then(|verdict| self.remembered(verdict)))
    }

    fn restore(&self, person: Digest, past: &Past, since: Since) -> bool {
        // Before the claim: whoever sees that finds the verdicts.
        let verdicts = self.restore_verdicts(person, past, since);
        if !self.warming.claim(person) {
            return verdicts > 0;
        }
        let now = Instant::now();
        // If the clock was set back since, what is recorded is older than the clock says.
        let latest_ms = self.warming.clock.now().as_millisecond().max(since.newest_ms);
        let at = |ms: i64| now.checked_sub(Duration::from_millis(latest_ms.saturating_sub(ms).unsigned_abs()));
        let calls = || past.flights.iter().flat_map(|flight| flight.calls.iter().map(move |call| (flight, call)));
        for (name, holds) in &self.holds {
            let mut of_it: Vec<&PastCall> =
                calls().map(|(_, call)| call).filter(|call| call.provider == *name && call.was_sent).collect();
            if of_it.is_empty() {
                continue;
            }
            of_it.sort_by_key(|call| call.ended_ms);
            let began: Vec<_> = of_it.iter().filter_map(|call| at(call.began_ms)).collect();
            let refused = of_it.iter().filter(|call| call.is_throttled);
            holds.restore(person, &began, &refused.filter_map(|call| at(call.ended_ms)).collect::<Vec<_>>(), now);
        }
        let last_bill = calls().filter(|(_, call)| call.is_billed).max_by_key(|(_, call)| call.ended_ms);
        if let Some((flight, call)) = last_bill
            && let Some(at) = at(call.ended_ms)
        {
            let window = call.verdict.map(|verdict| self.cache.lifetime(verdict)).unwrap_or_default();
            let verification = flight.verification.unwrap_or(Uuid::nil());
            self.billing.restore_bill(person, (&call.provider, call.verdict), verification, (at, window));
        }
        self.warming.verdicts.fetch_add(verdicts, Ordering::Relaxed);
        // Checked after the writes: an erasure sets the mark first and erases then.
        if self.warming.is_forgotten(&person) {
            self.billing.forget(&person);
            for holds in self.holds.values() {
                holds.forget(person);
            }
        }
        if self.warming.is_full() {
            tracing::warn!(
                "ledger: too many people to look each of them up; those asked about from now on may be paid for again"
            );
            self.warming.end();
        }
        verdicts > 0
    }

    /// Caches the newest verdict for each question about `person`, unless there is one already. Returns how many.
    fn restore_verdicts(&self, person: Digest, past: &Past, since: Since) -> u64 {
        let now = self.warming.clock.moment();
        if since.newest_ms > now.at.as_millisecond() || self.warming.is_forgotten(&person) {
            // The clock was set back, so nobody knows how old they are.
            return 0;
        }
        let mut restored = 0;
        for (key, verdict) in self.newest(person, past) {
            let Some(remembered) = self.remembered(verdict) else { continue };
            if remembered.age(now.monotonic) >= self.cache.lifetime(remembered.verdict) {
                continue;
            }
            self.cache.restore(&key, remembered, now.monotonic);
            restored += 1;
            // Checked after the write: an erasure sets the mark first and removes the entry then.
            if self.warming.is_forgotten(&person) {
                self.cache.forget(&key);
            }
        }
        restored
    }

    /// The newest verdict for each question about `person`.
    fn newest(&self, person: Digest, past: &Past) -> HashMap<CacheKey, PastVerdict> {
        let mut newest: HashMap<CacheKey, PastVerdict> = HashMap::new();
        for flight in &past.flights {
            let policy = self.purposes.get(&*flight.purpose).unwrap_or(&self.policy);
            let Some(verdict) = verdict_of(flight, policy.on_no_record) else { continue };
            // A purpose may have had another chain then.
            if !policy.order.iter().any(|provider| provider.account.name == verdict.provider) {
                continue;
            }
            let scope = match self.sharing {
                Sharing::Shared => policy.scope,
                Sharing::PerClient => self.traces.scopes.of(&policy.key, &flight.client),
            };
            let key = CacheKey { person, scope };
            if newest.get(&key).is_none_or(|known| known.at_ms < verdict.at_ms) {
                newest.insert(key, verdict);
            }
        }
        newest
    }

    fn remembered(&self, past: PastVerdict) -> Option<Remembered> {
        let PastVerdict { verdict, provider, request_id, at_ms } = past;
        let verified_at = self.warming.clock.moment_of(Timestamp::from_millisecond(at_ms).ok()?);
        Some(Remembered { verdict, provider, request_id, verified_at })
    }
}

/// The verdict of a flight: what its callers got; if nobody waited, what the chain would have taken from its calls.
fn verdict_of(flight: &PastFlight, on_no_record: OnNoRecord) -> Option<PastVerdict> {
    if flight.told.is_some() {
        return flight.told.clone();
    }
    let is_final = |call: &&PastCall| {
        call.verdict.is_some_and(|verdict| verdict != Verdict::NoRecord || on_no_record == OnNoRecord::Final)
    };
    let call =
        flight.calls.iter().find(is_final).or_else(|| flight.calls.iter().find(|call| call.verdict.is_some()))?;
    let (provider, request_id) = (Arc::clone(&call.provider), call.request_id.clone());
    Some(PastVerdict { verdict: call.verdict?, provider, request_id, at_ms: call.ended_ms })
}
