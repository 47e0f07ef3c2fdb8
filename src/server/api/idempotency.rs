//! `Idempotency-Key`: the same key and body get the same answer, also with `no-cache`; another body is refused.
//!
//! Kept in memory, per client, for 24 hours. Only a verdict is final: after a failure the same key may work again, and
//! then takes what the providers have said since it was first used, so that a retry is not a second bill.
//! Precedence: a finished key answers before memory is even asked; a key at work waits for its first request.
//! Invariant: a slot changes hands only in one step under its own lock, so two requests never hold one key.

use std::sync::Arc;
use std::time::Duration;

use moka::Entry;
use moka::future::Cache;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use tokio::sync::watch;
use tokio::time::Instant;

use super::problem::Problem;
use super::reply::VerifyReply;
use crate::domain::subject::Digest;

const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Bounds the memory, some 1 KiB an entry.
const MOST_ENTRIES: u64 = 100_000;

/// All claimed keys.
#[derive(Debug, Clone)]
pub struct Idempotency(Cache<Digest, Arc<Slot>>);

/// What the claim on a key came to.
#[derive(Debug)]
pub enum Claim {
    /// It is this request's: work, then [`Held::finish`] or [`Held::fail`].
    Held(Held),
    /// It is finished; this is its answer.
    Done(Arc<VerifyReply>),
    /// Another request with the same body is at work; wait for it.
    Busy(Busy),
    /// It belongs to another body.
    Reused,
}

/// A claimed key. Dropping it unfinished gives it back.
#[derive(Debug)]
pub struct Held {
    slot: Arc<Slot>,
    /// Whether an earlier request had the key, and got no verdict.
    again: bool,
}

/// Another request's work.
#[derive(Debug)]
pub struct Busy(watch::Receiver<State>);

/// A key, which belongs to the first body that it came with, verdict or not.
#[derive(Debug)]
struct Slot {
    body: Digest,
    /// Whom the body is about, so that it can be forgotten.
    person: Digest,
    since: Instant,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
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
        Self(Cache::builder().max_capacity(most).eviction_policy(policy).time_to_live(KEPT).build())
    }

    /// Claims `key` (of a client) for the request with this digest of its `body`, which is about `person`.
    pub async fn claim(&self, key: Digest, body: Digest, person: Digest) -> Claim {
        // Made fresh and claimed afterwards: a caller who leaves in between leaves nothing claimed.
        let state = || watch::Sender::new(State::Fresh);
        let fresh = async { Arc::new(Slot { body, person, since: Instant::now(), state: state() }) };
        let slot = self.0.get_with(key, fresh).await;
        if slot.body == body { slot.claim() } else { Claim::Reused }
    }

    /// Ends `key`, if this is still its answer: the next claim is the first.
    pub async fn end(&self, key: Digest, answer: &Arc<VerifyReply>) {
        let still = |slot: &Slot| matches!(&*slot.state.borrow(), State::Done(reply) if Arc::ptr_eq(reply, answer));
        let decide = async |slot: Option<Entry<Digest, Arc<Slot>>>| match slot {
            Some(slot) if still(slot.value()) => Op::Remove,
            _ => Op::Nop,
        };
        self.0.entry(key).and_compute_with(decide).await;
    }

    /// Forgets every key whose request was about `person`; how many there were. A request at work still gets its answer.
    pub async fn forget(&self, person: Digest) -> usize {
        let keys: Vec<_> = self.0.iter().filter(|(_, slot)| slot.person == person).map(|(key, _)| *key).collect();
        for key in &keys {
            self.0.invalidate(key).await;
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
    fn claim(self: Arc<Self>) -> Claim {
        let mut claim = None;
        self.state.send_if_modified(|state| {
            let again = match state {
                State::Fresh => false,
                State::Free(_) => true,
                State::Working => {
                    claim = Some(Claim::Busy(Busy(self.state.subscribe())));
                    return false;
                }
                State::Done(reply) => {
                    claim = Some(Claim::Done(Arc::clone(reply)));
                    return false;
                }
            };
            *state = State::Working;
            claim = Some(Claim::Held(Held { slot: Arc::clone(&self), again }));
            true
        });
        claim.unwrap_or(Claim::Reused)
    }
}

impl Held {
    /// When an earlier request had the key: how long ago it was first used. A verdict no older than that is its answer.
    pub fn since_first_use(&self) -> Option<Duration> {
        self.again.then(|| self.slot.since.elapsed())
    }

    /// The verdict is final: every later request with this key gets it.
    pub fn finish(self, reply: Arc<VerifyReply>) {
        self.slot.state.send_replace(State::Done(reply));
    }

    /// No verdict, for a reason that holds for all who wait: they are told, instead of each asking everybody again.
    /// The key is free for whoever comes later.
    pub fn fail(self, problem: Arc<Problem>) {
        self.slot.state.send_replace(State::Free(Some(problem)));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever comes next finds it free, and takes it.
        self.slot.state.send_if_modified(|state| {
            let unfinished = matches!(state, State::Working);
            if unfinished {
                *state = State::Free(None);
            }
            unfinished
        });
    }
}

impl Busy {
    /// What the first request came to; nothing if it was given up: then claim again.
    pub async fn wait(mut self) -> Option<Result<Arc<VerifyReply>, Arc<Problem>>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Working)).await.ok()?;
        match &*ended {
            State::Done(reply) => Some(Ok(Arc::clone(reply))),
            State::Free(Some(problem)) => Some(Err(Arc::clone(problem))),
            State::Free(None) | State::Fresh | State::Working => None,
        }
    }
}

#[cfg(test)]
mod tests;
