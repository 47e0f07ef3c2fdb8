//! `Idempotency-Key`: the same key and body get the same answer, also with `no-cache`; another body is refused.
//!
//! Kept in memory, per client, for 24 hours. Only a verdict is final: after a failure the same key may work again.
//! Precedence: a finished key answers before memory is even asked; a key at work waits for its first request.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use tokio::sync::watch;

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
}

/// Another request's work.
#[derive(Debug)]
pub struct Busy(watch::Receiver<State>);

#[derive(Debug)]
struct Slot {
    body: Digest,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    Working,
    Done(Arc<VerifyReply>),
    GivenBack,
}

impl Idempotency {
    /// No key is claimed yet.
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST_ENTRIES).time_to_live(KEPT).build())
    }

    /// Claims `key` (of a client) for the request with this digest of its `body`.
    pub async fn claim(&self, key: Digest, body: Digest) -> Claim {
        loop {
            // The initialiser is free, so that a cancelled caller's restart costs nothing.
            let new = async { Arc::new(Slot { body, state: watch::Sender::new(State::Working) }) };
            let entry = self.0.entry(key).or_insert_with(new).await;
            let (fresh, slot) = (entry.is_fresh(), entry.into_value());
            if fresh {
                return Claim::Held(Held { slot });
            }
            let receiver = slot.state.subscribe();
            let state = receiver.borrow().clone();
            match state {
                State::GivenBack => self.0.invalidate(&key).await,
                _ if slot.body != body => return Claim::Reused,
                State::Done(reply) => return Claim::Done(reply),
                State::Working => return Claim::Busy(Busy(receiver)),
            }
        }
    }
}

impl Default for Idempotency {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// The verdict is final: every later request with this key gets it.
    pub fn finish(self, reply: Arc<VerifyReply>) {
        self.slot.state.send_replace(State::Done(reply));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whoever comes next finds it given back, and takes it.
        self.slot.state.send_if_modified(|state| {
            let unfinished = matches!(state, State::Working);
            if unfinished {
                *state = State::GivenBack;
            }
            unfinished
        });
    }
}

impl Busy {
    /// The first request's answer; nothing if it had none, and the key is free again.
    pub async fn wait(mut self) -> Option<Arc<VerifyReply>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Working)).await.ok()?;
        match &*ended {
            State::Done(reply) => Some(Arc::clone(reply)),
            State::Working | State::GivenBack => None,
        }
    }
}
