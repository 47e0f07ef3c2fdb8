//! Single flight: many ask the same thing at the same time, the work is done once, all get its result.
//!
//! The work has a task of its own. The caller who starts it (the leader) waits like everybody else, so
//! nobody's leaving stops or repeats the work. Invariants:
//!
//! - A key has at most one flight. Its entry appears before the work is made and goes only after the work has
//!   ended *and* its result is published, also when the task panics, is aborted or is never run.
//! - Waiters are notified, not polled: a waiter costs memory and no processor time.
//!
//! Together with a memory one billed call per question needs two things of the caller: the work stores its
//! result before it returns, and it **looks into the memory first**, because a flight may land between the
//! caller's own look and [`Flights::join_or_start`].
//!
//! One plain mutex, not shards: it is held for one map operation (some 100 ns), twice per flight and once per
//! joiner, so 40,000 a second keep it busy less than a hundredth of the time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::SetOnce;

/// The flights under way, by key. Clones share them.
pub struct Flights<K, C, V> {
    table: Arc<Table<K, C, V>>,
}

/// A share in the result of one flight. Dropping it changes nothing for anybody.
#[must_use = "a flight is waited on"]
pub struct Flight<C, V> {
    landing: Arc<Landing<C, V>>,
}

/// Whether a caller started the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Started it.
    Leader,
    /// Found it under way.
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

/// Owned by the task: whatever becomes of it, the flight lands.
struct Pilot<K: Eq + Hash, C, V> {
    key: K,
    landing: Arc<Landing<C, V>>,
    table: Arc<Table<K, C, V>>,
}

impl<K, C, V> Flights<K, C, V> {
    /// No flight yet.
    pub fn new() -> Self {
        Self { table: Arc::new(Table(Mutex::default())) }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether none is under way.
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
    /// Joins the flight of `key`, or starts one: `work` is made, with the flight's context, and given to `spawn`,
    /// which must run it in a task of its own. Neither is called for a joiner.
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
        spawn(Box::pin(async move {
            let value = work.await;
            pilot.land(value);
        }));
        (Role::Leader, flight)
    }
}

impl<C, V: Clone> Flight<C, V> {
    /// The result, when it is there. Waiting may be given up at any time.
    pub async fn wait(&self) -> Result<V, Lost> {
        self.landing.result.wait().await.clone()
    }

    /// The state that the work shares with its waiters.
    pub fn context(&self) -> &C {
        &self.landing.context
    }
}

impl<K: Eq + Hash, C, V> Pilot<K, C, V> {
    /// Publishes; the entry goes when `self` does, right after.
    fn land(self, value: V) {
        // Fails only if there is a result already, and this is the only place that sets one.
        let _ = self.landing.result.set(Ok(value));
    }
}

impl<K: Eq + Hash, C, V> Drop for Pilot<K, C, V> {
    fn drop(&mut self) {
        // Fails after a result was set; otherwise the task was lost and the waiters must be notified.
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
