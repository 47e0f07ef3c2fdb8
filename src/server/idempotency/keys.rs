//! Idempotency keys in memory: which request holds a key, which wait for it, which one looks it up.
//!
//! Only a verdict is final. After a failure the same key may be used again, and then accepts any verdict given since
//! its first use, so that a retry is not billed twice. A finished key is answered before the verdict cache is asked.
//! Invariants: a slot changes in one step under its own lock, so two requests never hold one key; one request looks a
//! key up in the ledger for all that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::slots::Slots;
use crate::domain::clock::{Clock, Monotonic};
use crate::domain::subject::Digest;
use crate::server::http::problem::Problem;
use crate::server::pipeline::Verified;

/// How long a key belongs to its body.
const KEPT: Duration = Duration::from_hours(24);
/// Bounds the memory: about 1 KiB an entry. Each client has its share.
const MOST_ENTRIES: usize = 100_000;

/// The keys in memory. Clones share them.
#[derive(Debug, Clone)]
pub struct Idempotency {
    slots: Arc<Slots<Slot>>,
    /// How many persons were forgotten so far.
    erasures: Arc<AtomicU64>,
    /// Whether other replicas take keys from the same ledger.
    is_shared: bool,
    /// Look-ups and writes under way. They finish even if their callers leave.
    pub(in crate::server) tasks: TaskTracker,
}

/// The state in which a request finds its key.
#[derive(Debug)]
pub enum ClaimResult {
    /// Not known in memory: this request looks it up in the ledger, for all.
    Unknown(Lookup),
    /// Another request is looking it up; wait for that.
    LookedUp(LookupWait),
    /// This request holds it: answer the question, then call [`Claim::finish`] or [`Claim::fail`].
    Claimed(Claim),
    /// It has an answer.
    Done(Done),
    /// Another request with the same body holds it; wait for its answer.
    InProgress(InProgress),
    /// It belongs to another body.
    Reused,
}

/// The request that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The body of its first request.
    pub body: Digest,
    /// The person in that body, so that the key can be forgotten with them.
    pub person: Digest,
    /// When it was first used.
    pub since: Monotonic,
    /// Its claim in the ledger.
    pub claim: Option<Uuid>,
    /// How often that has changed hands.
    pub term: i32,
}

/// The duty to look a key up in the ledger. Dropped unsettled, the next request takes it over.
#[derive(Debug)]
pub struct Lookup {
    slot: Arc<Slot>,
    erasures: Arc<AtomicU64>,
    /// Ignore the ledger's owner: the key starts over.
    pub starts_over: bool,
    /// The claim that it starts over from.
    pub replaces: Option<Uuid>,
    /// Whether another replica holds the key, for which requests wait.
    is_elsewhere: bool,
}

/// Waits for a look-up to be settled.
#[derive(Debug)]
pub struct LookupWait(watch::Receiver<State>);

/// A key held by this request. Dropping it unfinished frees it.
#[derive(Debug)]
pub struct Claim {
    slot: Arc<Slot>,
    owner: Owner,
    /// Whether an earlier request held it, and got no verdict.
    again: bool,
}

/// A finished key.
#[derive(Debug)]
pub struct Done {
    slot: Arc<Slot>,
    /// The answer.
    pub answer: Arc<Verified>,
}

/// Waits for the request that holds the key.
#[derive(Debug)]
pub struct InProgress(watch::Receiver<State>);

#[derive(Debug)]
struct Slot(watch::Sender<State>);

#[derive(Debug, Clone)]
enum State {
    /// Not looked up yet.
    Unknown,
    /// A look-up is under way.
    LookingUp,
    /// The look-up failed.
    Unavailable,
    /// It belongs to the body of its first request, with or without a verdict.
    Owned(Owner, Work),
}

#[derive(Debug, Clone)]
enum Work {
    /// No request has held it yet.
    Fresh,
    /// The ledger says that an earlier request held it, and none holds it now.
    Left,
    Working,
    /// Its last holder got no verdict; with the problem for the requests that waited, if it holds for them too.
    Free(Option<Arc<Problem>>),
    Done(Arc<Verified>),
}

impl Idempotency {
    /// Without any key.
    pub fn new() -> Self {
        Self::holding(MOST_ENTRIES)
    }

    fn holding(most: usize) -> Self {
        let slots = Arc::new(Slots::new(most, KEPT));
        Self { slots, erasures: Arc::default(), is_shared: false, tasks: TaskTracker::new() }
    }

    /// Other replicas take keys from the same ledger: what a request leaves unfinished is looked up again.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// Claims `key` (the digest of client and key) for a request with this digest of its body. Claims that are older
    /// than a day at `now` have expired.
    pub fn claim(&self, client: &Arc<str>, key: Digest, body: Digest, now: Monotonic) -> ClaimResult {
        loop {
            let slot = self.slots.get_or_insert(client, key, || Slot::new(State::Unknown));
            if !slot.is_over(now) {
                return slot.claim(body, self.is_shared, &self.erasures);
            }
            if let Some(lookup) = self.replace(client, key, &slot) {
                return ClaimResult::Unknown(lookup);
            }
        }
    }

    /// Discards the answer of `key`, if it is still `done`: the key starts over with this request.
    pub fn start_over(&self, client: &Arc<str>, key: Digest, done: &Done) -> Option<Lookup> {
        let mut lookup = self.replace(client, key, &done.slot)?;
        lookup.starts_over = true;
        lookup.replaces = match &*done.slot.0.borrow() {
            State::Owned(owner, _) => owner.claim,
            _ => None,
        };
        Some(lookup)
    }

    /// Replaces the slot `old`, if it is still there.
    fn replace(&self, client: &Arc<str>, key: Digest, old: &Arc<Slot>) -> Option<Lookup> {
        let slot = Arc::new(Slot::new(State::LookingUp));
        let lookup = Lookup::new(Arc::clone(&slot), Arc::clone(&self.erasures));
        self.slots.replace(client, key, old, &slot).then_some(lookup)
    }

    /// Waits for all look-ups and writes under way. The ledger must still be open.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Forgets every key whose request was about `person` and returns how many there were. A request under way still
    /// gets its answer. The ledger must have forgotten them before.
    pub fn forget(&self, person: Digest) -> usize {
        // A look-up under way sees the change, and looks again.
        self.erasures.fetch_add(1, Ordering::SeqCst);
        self.slots.remove_where(|slot| matches!(&*slot.0.borrow(), State::Owned(owner, _) if owner.person == person))
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

    /// Whether its claim has expired. A request under way finishes first.
    fn is_over(&self, now: Monotonic) -> bool {
        match &*self.0.borrow() {
            State::Owned(_, Work::Working) | State::Unknown | State::LookingUp | State::Unavailable => false,
            State::Owned(owner, _) => is_over(owner.since, now),
        }
    }

    fn claim(self: Arc<Self>, body: Digest, is_shared: bool, erasures: &Arc<AtomicU64>) -> ClaimResult {
        let mut claim = ClaimResult::Reused;
        self.0.send_if_modified(|state| match state {
            State::Unknown | State::Unavailable => {
                *state = State::LookingUp;
                claim = ClaimResult::Unknown(Lookup::new(Arc::clone(&self), Arc::clone(erasures)));
                true
            }
            // Another replica may have taken it meanwhile.
            State::Owned(owner, Work::Free(_)) if is_shared && owner.body == body => {
                *state = State::LookingUp;
                claim = ClaimResult::Unknown(Lookup::new(Arc::clone(&self), Arc::clone(erasures)));
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
                    Work::Free(_) | Work::Left => true,
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
    const fn new(slot: Arc<Slot>, erasures: Arc<AtomicU64>) -> Self {
        Self { slot, erasures, starts_over: false, replaces: None, is_elsewhere: false }
    }

    /// Another replica holds the key: from now on requests wait for its answer. Whether any does.
    pub fn is_held_elsewhere(&mut self, owner: Owner) -> bool {
        let is_new = !std::mem::replace(&mut self.is_elsewhere, true);
        if is_new {
            self.slot.0.send_replace(State::Owned(owner, Work::Working));
        }
        is_new || self.slot.0.receiver_count() > 0
    }

    /// How many persons were forgotten so far. Read it before the ledger, and pass it to [`Lookup::found`].
    pub fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::SeqCst)
    }

    /// Lets this request wait for its own look-up.
    pub fn wait(&self) -> LookupWait {
        LookupWait(self.slot.0.subscribe())
    }

    /// Settles it: the key was free, and belongs to `owner` now.
    ///
    /// # Errors
    /// When a person was forgotten since `erasures` was read: look again.
    pub fn claimed(self, owner: Owner, erasures: u64) -> Result<(), Self> {
        self.settle(owner, Work::Fresh, erasures)
    }

    /// Settles it: the key belongs to `owner`, and is finished if there is an `answer`.
    ///
    /// # Errors
    /// As [`Lookup::claimed`].
    pub fn found(self, owner: Owner, answer: Option<Verified>, erasures: u64) -> Result<(), Self> {
        let work = answer.map_or(Work::Left, |answer| Work::Done(Arc::new(answer)));
        self.settle(owner, work, erasures)
    }

    fn settle(self, owner: Owner, work: Work, erasures: u64) -> Result<(), Self> {
        let settled = self.slot.0.send_if_modified(|state| {
            // Under the slot's lock, so that an erasure finds either the owner or this look-up still under way.
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
            let is_held = self.is_elsewhere && matches!(state, State::Owned(_, Work::Working));
            let undone = is_held || matches!(state, State::LookingUp);
            if undone {
                *state = State::Unavailable;
            }
            undone
        });
    }
}

impl LookupWait {
    /// Waits. Whether the key's owner is known now: then claim again.
    pub async fn is_known(mut self) -> bool {
        let ended = self.0.wait_for(|state| !matches!(state, State::LookingUp)).await;
        ended.is_ok_and(|state| !matches!(*state, State::Unavailable))
    }
}

impl Claim {
    /// If an earlier request held the key: the time since its first use, at `now`. A verdict no older than that
    /// answers it.
    pub fn since_first_use(&self, now: Monotonic) -> Option<Duration> {
        self.again.then(|| now.since(self.owner.since))
    }

    /// Its claim in the ledger.
    pub fn id(&self) -> Option<Uuid> {
        self.owner.claim
    }

    /// How often that claim has changed hands.
    pub fn term(&self) -> i32 {
        self.owner.term
    }

    /// Stores the verdict: every later request with this key gets it.
    pub fn finish(self, answer: Arc<Verified>) {
        self.end(Work::Done(answer));
    }

    /// Gives the problem to all requests that wait, because it holds for them too, and frees the key for later ones.
    pub fn fail(self, problem: Arc<Problem>) {
        self.end(Work::Free(Some(problem)));
    }

    fn end(&self, work: Work) {
        self.slot.0.send_replace(State::Owned(self.owner, work));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The next request finds it free.
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
    /// The answer or the problem of the request that holds the key; `None` if it gave up: then claim again.
    pub async fn wait(mut self) -> Option<Result<Arc<Verified>, Arc<Problem>>> {
        let ended = self.0.wait_for(|state| !matches!(state, State::Owned(_, Work::Working))).await.ok()?;
        match &*ended {
            State::Owned(_, Work::Done(answer)) => Some(Ok(Arc::clone(answer))),
            State::Owned(_, Work::Free(Some(problem))) => Some(Err(Arc::clone(problem))),
            _ => None,
        }
    }
}

/// Whether a key that was first used at `since` has expired.
pub(super) fn is_over(since: Monotonic, now: Monotonic) -> bool {
    now.since(since) > KEPT
}

/// Claims that were recorded before this time (milliseconds since 1970) have expired.
pub fn not_before(clock: &Clock) -> i64 {
    clock.earliest_within(KEPT).as_millisecond()
}

#[cfg(test)]
mod tests;
