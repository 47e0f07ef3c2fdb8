//! Single flight: many ask the same thing at the same time, the work is done once, all get its result.
//!
//! The work has a task of its own. The caller who starts it (the leader) waits like everybody else, so
//! nobody's leaving stops or repeats the work. Invariants:
//!
//! - A key has at most one flight. Its entry appears before the work is made and goes only after the work has
//!   ended *and* its result is published, also when the task panics, is aborted or is never run.
//! - Who waits is notified, not polled: a waiter costs memory and no processor time.
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
pub struct Flights<K, V> {
    table: Arc<Table<K, V>>,
}

/// A share in the result of one flight. Dropping it changes nothing for anybody.
#[must_use = "a flight is waited on"]
pub struct Flight<V> {
    result: Arc<Landing<V>>,
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

type Landing<V> = SetOnce<Result<V, Lost>>;

struct Table<K, V>(Mutex<HashMap<K, Arc<Landing<V>>>>);

/// Owned by the task: whatever becomes of it, the flight lands.
struct Pilot<K: Eq + Hash, V> {
    key: K,
    result: Arc<Landing<V>>,
    table: Arc<Table<K, V>>,
}

impl<K, V> Flights<K, V> {
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

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Send + Sync + 'static,
{
    /// Joins the flight of `key`, or starts one: `work` is made and given to `spawn`, which must run it in a
    /// task of its own. Neither is called for a joiner.
    pub fn join_or_start<W>(
        &self,
        key: K,
        spawn: impl FnOnce(BoxFuture<'static, ()>),
        work: impl FnOnce() -> W,
    ) -> (Role, Flight<V>)
    where
        W: Future<Output = V> + Send + 'static,
    {
        let pilot = match self.table.lock().entry(key) {
            Entry::Occupied(flight) => return (Role::Joined, Flight { result: Arc::clone(flight.get()) }),
            Entry::Vacant(seat) => {
                let (key, result) = (seat.key().clone(), Arc::default());
                seat.insert(Arc::clone(&result));
                Pilot { key, result, table: Arc::clone(&self.table) }
            }
        };
        let flight = Flight { result: Arc::clone(&pilot.result) };
        let work = work();
        spawn(Box::pin(async move {
            let value = work.await;
            pilot.land(value);
        }));
        (Role::Leader, flight)
    }
}

impl<V: Clone> Flight<V> {
    /// The result, when it is there. Waiting may be given up at any time.
    pub async fn wait(self) -> Result<V, Lost> {
        self.result.wait().await.clone()
    }
}

impl<K: Eq + Hash, V> Pilot<K, V> {
    /// Publishes; the entry goes when `self` does, right after.
    fn land(self, value: V) {
        // Refused only if a result is there already, and nobody else sets one.
        let _ = self.result.set(Ok(value));
    }
}

impl<K: Eq + Hash, V> Drop for Pilot<K, V> {
    fn drop(&mut self) {
        // Refused after a landing; otherwise the task is gone and whoever waits must hear of it.
        let _ = self.result.set(Err(Lost));
        self.table.lock().remove(&self.key);
    }
}

impl<K, V> Table<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Landing<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table) }
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({})", self.len())
    }
}

#[cfg(test)]
mod tests;
