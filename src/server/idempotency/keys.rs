//! `Idempotency-Key`: the same key and body get the same answer, also with `no-cache`; another body is refused.
//!
//! The first level, in memory: who has a key now, who waits for it, who knows whose it is. Behind it is the ledger, if there
//! is one, where keys are claimed before anything is asked (`once` brings both together). Kept for 24 hours, per client.
//! Only a verdict is final: after a failure the same key may work again, and then takes what the providers have said since
//! it was first used, so that a retry is not a second bill.
//! Precedence: a finished key answers before memory is even asked; a key at work waits for its first request.
//! Invariants: a slot changes hands only in one step under its own lock, so two requests never hold one key; and whose a
//! key is, one request finds out for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::Entry;
use moka::future::Cache;
use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::domain::clock::Clock;
use crate::domain::subject::Digest;
use crate::server::http::problem::Problem;
use crate::server::pipeline::Verified;

/// So long a key stays with its body.
const KEPT: Duration = Duration::from_hours(24);
/// Bounds the memory, some 1 KiB an entry.
const MOST_ENTRIES: u64 = 100_000;

/// All claimed keys that memory knows.
#[derive(Debug, Clone)]
pub struct Idempotency {
    slots: Cache<Digest, Arc<Slot>>,
    /// So often somebody was forgotten.
    erasures: Arc<AtomicU64>,
    /// Claims on their way. They end whether or not somebody waits for them.
    pub(in crate::server) tasks: TaskTracker,
}

/// What the claim on a key came to.
#[derive(Debug)]
pub enum ClaimResult {
    /// Nobody knows whose it is: this request finds out, for all.
    Unknown(Lookup),
    /// Another request is finding out whose it is; wait for it.
    LookedUp(LookupWait),
    /// It is this request's: work, then [`Claim::finish`] or [`Claim::fail`].
    Claimed(Claim),
    /// It is finished.
    Done(Done),
    /// Another request with the same body is at work; wait for it.
    InProgress(InProgress),
    /// It belongs to another body.
    Reused,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The body that it came with first.
    pub body: Digest,
    /// Whom the body is about, so that it can be forgotten.
    pub person: Digest,
    /// When it was first used, in milliseconds since 1970.
    pub since_ms: i64,
    /// Its claim in the ledger.
    pub claim: Option<Uuid>,
}

/// The duty to find out whose a key is. Dropped undone, it is the next one's.
#[derive(Debug)]
pub struct Lookup {
    slot: Arc<Slot>,
    erasures: Arc<AtomicU64>,
    /// Whoever had it, it begins anew.
    pub starts_over: bool,
}

/// Another's lookup.
#[derive(Debug)]
pub struct LookupWait(watch::Receiver<State>);

/// A claimed key. Dropping it unfinished gives it back.
#[derive(Debug)]
pub struct Claim {
    slot: Arc<Slot>,
    owner: Owner,
    /// Whether an earlier request had the key, and got no verdict.
    again: bool,
}

/// A finished key.
#[derive(Debug)]
pub struct Done {
    slot: Arc<Slot>,
    /// Its answer.
    pub answer: Arc<Verified>,
}

/// Another request's work.
#[derive(Debug)]
pub struct InProgress(watch::Receiver<State>);

#[derive(Debug)]
struct Slot(watch::Sender<State>);

#[derive(Debug, Clone)]
enum State {
    /// Nobody has looked whose it is.
    Unknown,
    /// Somebody looks.
    LookingUp,
    /// Nobody could find out.
    Unavailable,
    /// It belongs to the first body that it came with, verdict or not.
    Owned(Owner, Work),
}

#[derive(Debug, Clone)]
enum Work {
    /// Nobody has worked on it yet.
    Fresh,
    Working,
    /// Whoever worked on it had no verdict; what those are told who waited for it, if it holds for them as well.
    Free(Option<Arc<Problem>>),
    Done(Arc<Verified>),
}

impl Idempotency {
    /// No key is claimed yet.
    pub fn new() -> Self {
        Self::holding(MOST_ENTRIES)
    }

    fn holding(most: u64) -> Self {
        // The oldest goes. The default policy would keep the old ones and turn every new key away.
        let policy = EvictionPolicy::lru();
        let slots = Cache::builder().max_capacity(most).eviction_policy(policy).time_to_live(KEPT).build();
        Self { slots, erasures: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Claims `key` (of a client) for the request with this digest of its `body`. `not_before_ms`: what was claimed before
    /// is over, in milliseconds since 1970.
    pub async fn claim(&self, key: Digest, body: Digest, not_before_ms: i64) -> ClaimResult {
        loop {
            // Made first and claimed afterwards: a caller who leaves in between leaves nothing claimed.
            let unknown = async { Arc::new(Slot::new(State::Unknown)) };
            let slot = self.slots.get_with(key, unknown).await;
            if !slot.is_over(not_before_ms) {
                return slot.claim(body, &self.erasures);
            }
            if let Some(lookup) = self.replace(key, &slot).await {
                return ClaimResult::Unknown(lookup);
            }
        }
    }

    /// Ends `key`, if `done` is still its answer: it begins anew, with this request.
    pub async fn start_over(&self, key: Digest, done: &Done) -> Option<Lookup> {
        let mut lookup = self.replace(key, &done.slot).await?;
        lookup.starts_over = true;
        Some(lookup)
    }

    /// Another slot in place of `old`, if that is still there.
    async fn replace(&self, key: Digest, old: &Arc<Slot>) -> Option<Lookup> {
        // Made before: whoever leaves in between leaves a lookup undone, and none that never ends.
        let slot = Arc::new(Slot::new(State::LookingUp));
        let lookup = Lookup { slot: Arc::clone(&slot), erasures: Arc::clone(&self.erasures), starts_over: false };
        let decide = async |there: Option<Entry<Digest, Arc<Slot>>>| match there {
            Some(there) if Arc::ptr_eq(there.value(), old) => Op::Put(slot),
            _ => Op::Nop,
        };
        let replaced = self.slots.entry(key).and_compute_with(decide).await;
        matches!(replaced, CompResult::ReplacedWith(_)).then_some(lookup)
    }

    /// Returns when all claims and answers on their way have ended; they wait for the ledger only, which must be open.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Forgets every key whose request was about `person`; how many there were. A request at work still gets its answer.
    /// In the ledger they are forgotten before.
    pub async fn forget(&self, person: Digest) -> usize {
        // Whoever is finding out whose a key is sees this, and looks again.
        self.erasures.fetch_add(1, Ordering::SeqCst);
        let is_about = |slot: &Slot| matches!(&*slot.0.borrow(), State::Owned(owner, _) if owner.person == person);
        let keys: Vec<_> = self.slots.iter().filter(|(_, slot)| is_about(slot)).map(|(key, _)| *key).collect();
        for key in &keys {
            self.slots.invalidate(key).await;
        }
        keys.len()
    }
}

impl Default for Idempotency {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn new(state: State) -> Self {
        Self(watch::Sender::new(state))
    }

    /// Whether its time is over. A request at work ends first.
    fn is_over(&self, not_before_ms: i64) -> bool {
        match &*self.0.borrow() {
            State::Owned(_, Work::Working) | State::Unknown | State::LookingUp | State::Unavailable => false,
            State::Owned(owner, _) => owner.since_ms < not_before_ms,
        }
    }

    fn claim(self: Arc<Self>, body: Digest, erasures: &Arc<AtomicU64>) -> ClaimResult {
        let mut claim = ClaimResult::Reused;
        self.0.send_if_modified(|state| match state {
            State::Unknown | State::Unavailable => {
                *state = State::LookingUp;
                let (slot, erasures) = (Arc::clone(&self), Arc::clone(erasures));
                claim = ClaimResult::Unknown(Lookup { slot, erasures, starts_over: false });
                true
            }
            State::LookingUp => {
                claim = ClaimResult::LookedUp(LookupWait(self.0.subscribe()));
                false
            }
            State::Owned(owner, _) if owner.body != body => false,
            State::Owned(owner, work) => {
                let again = match work {
                    Work::Fresh => false,
                    Work::Free(_) => true,
                    Work::Working => {
                        claim = ClaimResult::InProgress(InProgress(self.0.subscribe()));
                        return false;
                    }
                    Work::Done(answer) => {
                        claim = ClaimResult::Done(Done { slot: Arc::clone(&self), answer: Arc::clone(answer) });
                        return false;
                    }
                };
                *work = Work::Working;
                claim = ClaimResult::Claimed(Claim { slot: Arc::clone(&self), owner: *owner, again });
                true
            }
        });
        claim
    }
}

impl Lookup {
    /// How many were forgotten so far: to be read before the ledger is, and told to [`Lookup::found`].
    pub fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::SeqCst)
    }

    /// For this request to wait for its own lookup.
    pub fn wait(&self) -> LookupWait {
        LookupWait(self.slot.0.subscribe())
    }

    /// Nobody had it: it is `owner`'s now.
    ///
    /// # Errors
    /// When somebody was forgotten since `erasures` were read: lookup again.
    pub fn claimed(self, owner: Owner, erasures: u64) -> Result<(), Self> {
        self.settle(owner, Work::Fresh, erasures)
    }

    /// It was `owner`'s already, and finished if there is an `answer`.
    ///
    /// # Errors
    /// As [`Lookup::claimed`].
    pub fn found(self, owner: Owner, answer: Option<Verified>, erasures: u64) -> Result<(), Self> {
        let work = answer.map_or(Work::Free(None), |answer| Work::Done(Arc::new(answer)));
        self.settle(owner, work, erasures)
    }

    fn settle(self, owner: Owner, work: Work, erasures: u64) -> Result<(), Self> {
        let settled = self.slot.0.send_if_modified(|state| {
            // In here, so that whoever forgets finds either the owner, or this lookup still under way.
            let holds = self.erasures() == erasures;
            if holds {
                *state = State::Owned(owner, work);
            }
            holds
        });
        if settled { Ok(()) } else { Err(self) }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.slot.0.send_if_modified(|state| {
            let undone = matches!(state, State::LookingUp);
            if undone {
                *state = State::Unavailable;
            }
            undone
        });
    }
}

impl LookupWait {
    /// Whether it is known now whose the key is: then claim again.
    pub async fn is_known(mut self) -> bool {
        let ended = self.0.wait_for(|state| !matches!(state, State::LookingUp)).await;
        ended.is_ok_and(|state| !matches!(*state, State::Unavailable))
    }
}

impl Claim {
    /// When an earlier request had the key: how long ago, at `now_ms`, it was first used. A verdict no older than that is
    /// its answer.
    pub fn since_first_use(&self, now_ms: i64) -> Option<Duration> {
        let ms = now_ms.saturating_sub(self.owner.since_ms);
        // Nothing is younger than now, whatever the clock does.
        self.again.then(|| Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
    }

    /// Its claim in the ledger.
    pub fn id(&self) -> Option<Uuid> {
        self.owner.claim
    }

    /// The verdict is final: every later request with this key gets it.
    pub fn finish(self, answer: Arc<Verified>) {
        self.end(Work::Done(answer));
    }

    /// No verdict, for a reason that holds for all who wait: they are told, instead of each asking everybody again.
    /// The key is free for whoever comes later.
    pub fn fail(self, problem: Arc<Problem>) {
        self.end(Work::Free(Some(problem)));
    }

    fn end(&self, work: Work) {
        self.slot.0.send_replace(State::Owned(self.owner, work));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Whoever comes next finds it free, and takes it.
        self.slot.0.send_if_modified(|state| match state {
            State::Owned(_, work @ Work::Working) => {
                *work = Work::Free(None);
                true
            }
            _ => false,
        });
    }
}

impl InProgress {
    /// What the first request came to; nothing if it was given up: then claim again.
    pub async fn wait(mut self) -> Option<Result<Arc<Verified>, Arc<Problem>>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Owned(_, Work::Working))).await.ok()?;
        match &*ended {
            State::Owned(_, Work::Done(answer)) => Some(Ok(Arc::clone(answer))),
            State::Owned(_, Work::Free(Some(problem))) => Some(Err(Arc::clone(problem))),
            _ => None,
        }
    }
}

/// What was claimed before this, in milliseconds since 1970, is over.
pub fn not_before(clock: &Clock) -> i64 {
    let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
    clock.now().as_millisecond().saturating_sub(kept)
}

#[cfg(test)]
mod tests;
