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

use super::reply::VerifyReply;
use crate::domain::clock::Clock;
use crate::domain::subject::Digest;
use crate::server::http::problem::Problem;

/// So long a key stays with its body.
const KEPT: Duration = Duration::from_hours(24);
/// Bounds the memory, some 1 KiB an entry.
const MOST_ENTRIES: u64 = 100_000;

/// All claimed keys that memory knows.
#[derive(Debug, Clone)]
pub struct Idempotency {
    slots: Cache<Digest, Arc<Slot>>,
    /// So often somebody was forgotten.
    forgettings: Arc<AtomicU64>,
    /// Claims on their way. They end whether or not somebody waits for them.
    pub(in crate::server) tasks: TaskTracker,
}

/// What the claim on a key came to.
#[derive(Debug)]
pub enum Claim {
    /// Nobody knows whose it is: this request finds out, for all.
    Unknown(Look),
    /// Another request is finding out whose it is; wait for it.
    Looked(Looking),
    /// It is this request's: work, then [`Held::finish`] or [`Held::fail`].
    Held(Held),
    /// It is finished.
    Done(Done),
    /// Another request with the same body is at work; wait for it.
    Busy(Busy),
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
pub struct Look {
    slot: Arc<Slot>,
    forgettings: Arc<AtomicU64>,
    /// Whoever had it, it begins anew.
    pub anew: bool,
}

/// Another's look.
#[derive(Debug)]
pub struct Looking(watch::Receiver<State>);

/// A claimed key. Dropping it unfinished gives it back.
#[derive(Debug)]
pub struct Held {
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
    pub reply: Arc<VerifyReply>,
}

/// Another request's work.
#[derive(Debug)]
pub struct Busy(watch::Receiver<State>);

#[derive(Debug)]
struct Slot(watch::Sender<State>);

#[derive(Debug, Clone)]
enum State {
    /// Nobody has looked whose it is.
    Unknown,
    /// Somebody looks.
    Looking,
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
    Done(Arc<VerifyReply>),
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
        Self { slots, forgettings: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Claims `key` (of a client) for the request with this digest of its `body`. `not_before_ms`: what was claimed before
    /// is over, in milliseconds since 1970.
    pub async fn claim(&self, key: Digest, body: Digest, not_before_ms: i64) -> Claim {
        loop {
            // Made first and claimed afterwards: a caller who leaves in between leaves nothing claimed.
            let unknown = async { Arc::new(Slot::new(State::Unknown)) };
            let slot = self.slots.get_with(key, unknown).await;
            if !slot.is_over(not_before_ms) {
                return slot.claim(body, &self.forgettings);
            }
            if let Some(look) = self.replace(key, &slot).await {
                return Claim::Unknown(look);
            }
        }
    }

    /// Ends `key`, if `done` is still its answer: it begins anew, with this request.
    pub async fn begin_anew(&self, key: Digest, done: &Done) -> Option<Look> {
        let mut look = self.replace(key, &done.slot).await?;
        look.anew = true;
        Some(look)
    }

    /// Another slot in place of `old`, if that is still there.
    async fn replace(&self, key: Digest, old: &Arc<Slot>) -> Option<Look> {
        // Made before: whoever leaves in between leaves a look undone, and none that never ends.
        let slot = Arc::new(Slot::new(State::Looking));
        let look = Look { slot: Arc::clone(&slot), forgettings: Arc::clone(&self.forgettings), anew: false };
        let decide = async |there: Option<Entry<Digest, Arc<Slot>>>| match there {
            Some(there) if Arc::ptr_eq(there.value(), old) => Op::Put(slot),
            _ => Op::Nop,
        };
        let replaced = self.slots.entry(key).and_compute_with(decide).await;
        matches!(replaced, CompResult::ReplacedWith(_)).then_some(look)
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
        self.forgettings.fetch_add(1, Ordering::SeqCst);
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
            State::Owned(_, Work::Working) | State::Unknown | State::Looking | State::Unavailable => false,
            State::Owned(owner, _) => owner.since_ms < not_before_ms,
        }
    }

    fn claim(self: Arc<Self>, body: Digest, forgettings: &Arc<AtomicU64>) -> Claim {
        let mut claim = Claim::Reused;
        self.0.send_if_modified(|state| match state {
            State::Unknown | State::Unavailable => {
                *state = State::Looking;
                let (slot, forgettings) = (Arc::clone(&self), Arc::clone(forgettings));
                claim = Claim::Unknown(Look { slot, forgettings, anew: false });
                true
            }
            State::Looking => {
                claim = Claim::Looked(Looking(self.0.subscribe()));
                false
            }
            State::Owned(owner, _) if owner.body != body => false,
            State::Owned(owner, work) => {
                let again = match work {
                    Work::Fresh => false,
                    Work::Free(_) => true,
                    Work::Working => {
                        claim = Claim::Busy(Busy(self.0.subscribe()));
                        return false;
                    }
                    Work::Done(reply) => {
                        claim = Claim::Done(Done { slot: Arc::clone(&self), reply: Arc::clone(reply) });
                        return false;
                    }
                };
                *work = Work::Working;
                claim = Claim::Held(Held { slot: Arc::clone(&self), owner: *owner, again });
                true
            }
        });
        claim
    }
}

impl Look {
    /// How many were forgotten so far: to be read before the ledger is, and told to [`Look::found`].
    pub fn forgettings(&self) -> u64 {
        self.forgettings.load(Ordering::SeqCst)
    }

    /// For this request to wait for its own look.
    pub fn wait(&self) -> Looking {
        Looking(self.slot.0.subscribe())
    }

    /// Nobody had it: it is `owner`'s now.
    ///
    /// # Errors
    /// When somebody was forgotten since `forgettings` were read: look again.
    pub fn claimed(self, owner: Owner, forgettings: u64) -> Result<(), Self> {
        self.settle(owner, Work::Fresh, forgettings)
    }

    /// It was `owner`'s already, and finished if there is a `reply`.
    ///
    /// # Errors
    /// As [`Look::claimed`].
    pub fn found(self, owner: Owner, reply: Option<VerifyReply>, forgettings: u64) -> Result<(), Self> {
        let work = reply.map_or(Work::Free(None), |reply| Work::Done(Arc::new(reply)));
        self.settle(owner, work, forgettings)
    }

    fn settle(self, owner: Owner, work: Work, forgettings: u64) -> Result<(), Self> {
        let settled = self.slot.0.send_if_modified(|state| {
            // In here, so that whoever forgets finds either the owner, or this look still under way.
            let holds = self.forgettings() == forgettings;
            if holds {
                *state = State::Owned(owner, work);
            }
            holds
        });
        if settled { Ok(()) } else { Err(self) }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.slot.0.send_if_modified(|state| {
            let undone = matches!(state, State::Looking);
            if undone {
                *state = State::Unavailable;
            }
            undone
        });
    }
}

impl Looking {
    /// Whether it is known now whose the key is: then claim again.
    pub async fn is_known(mut self) -> bool {
        let ended = self.0.wait_for(|state| !matches!(state, State::Looking)).await;
        ended.is_ok_and(|state| !matches!(*state, State::Unavailable))
    }
}

impl Held {
    /// When an earlier request had the key: how long ago, at `now_ms`, it was first used. A verdict no older than that is
    /// its answer.
    pub fn since_first_use(&self, now_ms: i64) -> Option<Duration> {
        let ms = now_ms.saturating_sub(self.owner.since_ms);
        // Nothing is younger than now, whatever the clock does.
        self.again.then(|| Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
    }

    /// Its claim in the ledger.
    pub fn claim(&self) -> Option<Uuid> {
        self.owner.claim
    }

    /// The verdict is final: every later request with this key gets it.
    pub fn finish(self, reply: Arc<VerifyReply>) {
        self.end(Work::Done(reply));
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

impl Drop for Held {
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

impl Busy {
    /// What the first request came to; nothing if it was given up: then claim again.
    pub async fn wait(mut self) -> Option<Result<Arc<VerifyReply>, Arc<Problem>>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Owned(_, Work::Working))).await.ok()?;
        match &*ended {
            State::Owned(_, Work::Done(reply)) => Some(Ok(Arc::clone(reply))),
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
