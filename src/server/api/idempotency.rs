//! `Idempotency-Key`: the same key and body get the same answer, also with `no-cache`; another body is refused.
//!
//! Kept in memory, per client, for 24 hours. Only a verdict is final: after a failure the same key may work again, and
//! then takes what the providers have said since it was first used, so that a retry is not a second bill.
//! Precedence: a finished key answers before memory is even asked; a key at work waits for its first request.
//! Invariant: a slot changes hands only in one step under its own lock, so two requests never hold one key.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::watch;
use tokio::time::Instant;

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
    /// It is this request's: work, then [`Held::finish`].
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
    work: Work,
    /// Whether an earlier request with this body had the key, and got no verdict.
    again: bool,
}

/// Another request's work.
#[derive(Debug)]
pub struct Busy {
    body: Digest,
    state: watch::Receiver<State>,
}

#[derive(Debug)]
struct Slot(watch::Sender<State>);

#[derive(Debug, Clone)]
enum State {
    /// Nobody works on it; whoever did had no verdict.
    Free(Option<Work>),
    Working(Work),
    Done(Digest, Arc<VerifyReply>),
}

/// What a key is used for, and since when.
#[derive(Debug, Clone, Copy)]
struct Work {
    body: Digest,
    since: Instant,
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

    /// Claims `key` (of a client) for the request with this digest of its `body`.
    pub async fn claim(&self, key: Digest, body: Digest) -> Claim {
        // Made free and claimed afterwards: a caller who leaves in between leaves nothing claimed.
        let free = async { Arc::new(Slot(watch::Sender::new(State::Free(None)))) };
        let slot = self.0.get_with(key, free).await;
        slot.claim(body)
    }
}

impl Default for Idempotency {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn claim(self: Arc<Self>, body: Digest) -> Claim {
        let (mut claim, mut taken) = (Claim::Reused, None);
        self.0.send_if_modified(|state| {
            match state {
                State::Free(earlier) => {
                    let again = earlier.filter(|earlier| earlier.body == body);
                    let work = again.unwrap_or_else(|| Work { body, since: Instant::now() });
                    *state = State::Working(work);
                    taken = Some((work, again.is_some()));
                    return true;
                }
                State::Working(work) if work.body == body => {
                    claim = Claim::Busy(Busy { body, state: self.0.subscribe() });
                }
                State::Done(of, reply) if *of == body => claim = Claim::Done(Arc::clone(reply)),
                State::Working(_) | State::Done(..) => {}
            }
            false
        });
        match taken {
            Some((work, again)) => Claim::Held(Held { slot: self, work, again }),
            None => claim,
        }
    }
}

impl Held {
    /// When an earlier request had the key: how long ago it was first used. A verdict no older than that is its answer.
    pub fn since_first_use(&self) -> Option<Duration> {
        self.again.then(|| self.work.since.elapsed())
    }

    /// The verdict is final: every later request with this key gets it.
    pub fn finish(self, reply: Arc<VerifyReply>) {
        self.slot.0.send_replace(State::Done(self.work.body, reply));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever comes next finds it free, and takes it.
        self.slot.0.send_if_modified(|state| {
            let unfinished = matches!(state, State::Working(_));
            if unfinished {
                *state = State::Free(Some(self.work));
            }
            unfinished
        });
    }
}

impl Busy {
    /// The first request's answer; nothing if it had none: then claim again.
    pub async fn wait(mut self) -> Option<Arc<VerifyReply>> {
        let body = self.body;
        let at_work = |state: &State| matches!(state, State::Working(work) if work.body == body);
        let ended = self.state.wait_for(|state| !at_work(state)).await.ok()?;
        match &*ended {
            // Somebody else may have taken the key meanwhile, for another question.
            State::Done(of, reply) if *of == body => Some(Arc::clone(reply)),
            State::Done(..) | State::Working(_) | State::Free(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
