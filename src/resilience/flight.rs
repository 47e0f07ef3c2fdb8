//! Single flight: when many callers ask for the same thing at the same time, the work runs once and all get its result.
//!
//! The work does not belong to the caller that starts it (the leader), who may leave like all the others: it runs in a
//! task, or is [attended](super::attended) by the leader. So a caller that leaves neither stops nor repeats it. Invariants:
//!
//! - A key has at most one flight. Its entry is inserted before the work is created, and removed only after the work
//!   has ended *and* its result is published, even if the task panics, is aborted or never runs.
//! - Waiters are notified, not polled: a waiter costs memory but no CPU time.
//!
//! With a cache in front, one billed call per question requires two things of the work: it stores its result before it
//! returns, and it **checks the cache first**, because a flight may finish between the caller's own cache lookup and
//! [`Flights::join_or_start`].
//!
//! One plain mutex is enough: it is held for one map operation (about 100 ns), twice per flight and once per joiner, so
//! 40,000 requests a second keep it busy less than 1 % of the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::SetOnce;

/// The flights in progress, by key. Clones share them.
pub struct Flights<K, C, V> {
    table: Arc<Table<K, C, V>>,
}

/// A handle to the result of one flight. Dropping it does not affect the work or other waiters.
#[must_use = "a flight is waited on"]
pub struct Flight<C, V> {
    landing: Arc<Landing<C, V>>,
}

/// Whether a caller started the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    /// Joined work in progress.
    Joined,
}

/// The task ended without a result: it panicked, was aborted, or never ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work ended without a result")]
pub struct Lost;

struct Landing<C, V> {
    context: C,
    result: SetOnce<Result<V, Lost>>,
}

struct Table<K, C, V>(Mutex<HashMap<K, Arc<Landing<C, V>>>>);

/// Owned by the task. Its drop publishes a result and removes the entry, whatever happens to the task.
struct Pilot<K: Eq + Hash, C, V> {
    key: K,
    landing: Arc<Landing<C, V>>,
    table: Arc<Table<K, C, V>>,
}

impl<K, C, V> Flights<K, C, V> {
    pub fn new() -> Self {
        Self { table: Arc::new(Table(Mutex::default())) }
    }

    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, C, V> Flights<K, C, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    C: Default + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Joins the flight of `key`, or starts one: `work` is called with the flight's context, and its future is passed
    /// to `spawn`, which must see that it ends whatever the caller does. Neither is called for a joiner.
    pub fn join_or_start<W>(
        &self,
        key: K,
        spawn: impl FnOnce(BoxFuture<'static, ()>),
        work: impl FnOnce(C) -> W,
    ) -> (Role, Flight<C, V>)
    where
        W: Future<Output = V> + Send + 'static,
    {
        let pilot = match self.table.lock().entry(key) {
            Entry::Occupied(flight) => return (Role::Joined, Flight { landing: Arc::clone(flight.get()) }),
            Entry::Vacant(seat) => {
                let landing = Arc::new(Landing { context: C::default(), result: SetOnce::new() });
                let key = seat.key().clone();
                seat.insert(Arc::clone(&landing));
                Pilot { key, landing, table: Arc::clone(&self.table) }
            }
        };
        let flight = Flight { landing: Arc::clone(&pilot.landing) };
        let work = work(pilot.landing.context.clone());
        // An async block would have room for the work twice, and all of it is wiped.
        spawn(work.map(move |value| pilot.land(value)).boxed());
        (Role::Leader, flight)
    }
}

impl<K: Eq + Hash, C, V> Flights<K, C, V> {
    /// The flight of `key`, if there is one.
    pub fn join(&self, key: &K) -> Option<Flight<C, V>> {
        self.table.lock().get(key).map(|landing| Flight { landing: Arc::clone(landing) })
    }
}

impl<C, V: Clone> Flight<C, V> {
    /// Waits for the result. Cancel-safe.
    pub async fn wait(&self) -> Result<V, Lost> {
        self.landing.result.wait().await.clone()
    }

    /// State that the work shares with its waiters.
    pub fn context(&self) -> &C {
        &self.landing.context
    }
}

impl<K: Eq + Hash, C, V> Pilot<K, C, V> {
    /// Publishes the result. Dropping `self` right after removes the entry.
    fn land(self, value: V) {
        // Fails only if a result is already set, and only this line sets one.
        let _ = self.landing.result.set(Ok(value));
    }
}

impl<K: Eq + Hash, C, V> Drop for Pilot<K, C, V> {
    fn drop(&mut self) {
        // Fails if a result is already set. Otherwise the task was lost, and its waiters must be notified.
        let _ = self.landing.result.set(Err(Lost));
        self.table.lock().remove(&self.key);
    }
}

impl<K, C, V> Table<K, C, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Landing<C, V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, C, V> Clone for Flights<K, C, V> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table) }
    }
}

impl<K, C, V> Default for Flights<K, C, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, C, V> fmt::Debug for Flights<K, C, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({})", self.len())
    }
}

#[cfg(test)]
mod tests;
