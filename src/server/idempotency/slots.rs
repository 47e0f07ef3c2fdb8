//! A bounded table that clients share fairly: when it is full, the client that has most in it loses its oldest entry.
//! So with `n` clients each keeps at least the n-th part, whatever the others do, and idle shares are lent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::subject::Digest;

/// How often expired entries of all clients are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Values by client and key. A key is a digest over its client too.
#[derive(Debug)]
pub(super) struct Slots<T> {
    most: usize,
    kept: Duration,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    clients: HashMap<Arc<str>, Client<T>>,
    total: usize,
    sweep_at: Instant,
}

#[derive(Debug)]
struct Client<T> {
    values: HashMap<Digest, Arc<T>>,
    /// Oldest first. May hold entries whose value was removed or replaced.
    order: VecDeque<(Instant, Digest, Weak<T>)>,
}

impl<T> Slots<T> {
    pub(super) fn new(most: usize, kept: Duration) -> Self {
        let state = State { clients: HashMap::new(), total: 0, sweep_at: Instant::now() + SWEEP_EVERY };
        Self { most, kept, state: Mutex::new(state) }
    }

    /// The value of `key`, made by `new` if there is none.
    pub(super) fn get_or_insert(&self, client: &Arc<str>, key: Digest, new: impl FnOnce() -> T) -> Arc<T> {
        let (now, mut state) = (Instant::now(), self.lock());
        if now >= state.sweep_at {
            state.sweep_at = now + SWEEP_EVERY;
            state.sweep(now, self.kept);
        }
        if let Some(value) = state.clients.get(client).and_then(|of| of.values.get(&key)) {
            return Arc::clone(value);
        }
        let value = Arc::new(new());
        let of_client = state.clients.entry(Arc::clone(client)).or_insert_with(Client::new);
        of_client.add(key, &value, now);
        state.total += 1;
        while state.total > self.most && state.evict() {}
        value
    }

    /// Puts `new` in place of `old`. Returns false if `old` is not there any more.
    pub(super) fn replace(&self, client: &Arc<str>, key: Digest, old: &Arc<T>, new: &Arc<T>) -> bool {
        let (now, mut state) = (Instant::now(), self.lock());
        let Some(of_client) = state.clients.get_mut(client) else { return false };
        let is_there = of_client.values.get(&key).is_some_and(|there| Arc::ptr_eq(there, old));
        if is_there {
            of_client.add(key, new, now);
        }
        is_there
    }

    /// Removes every value of which `is_meant` is true, and returns how many there were.
    pub(super) fn remove_where(&self, is_meant: impl Fn(&T) -> bool) -> usize {
        let mut state = self.lock();
        let before = state.total;
        let mut left = 0;
        for of_client in state.clients.values_mut() {
            of_client.values.retain(|_, value| !is_meant(value));
            left += of_client.values.len();
        }
        state.total = left;
        before - left
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // If a holder panics, the total may be off by one until the next removal counts anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Removes the oldest entry of the client that has most.
    fn evict(&mut self) -> bool {
        let Some(of_client) = self.clients.values_mut().max_by_key(|of| of.values.len()) else { return false };
        let is_removed = of_client.remove_oldest(|_| true);
        self.total = self.total.saturating_sub(usize::from(is_removed));
        is_removed
    }

    fn sweep(&mut self, now: Instant, kept: Duration) {
        for of_client in self.clients.values_mut() {
            while of_client.remove_oldest(|at| now.saturating_duration_since(at) >= kept) {
                self.total = self.total.saturating_sub(1);
            }
        }
        self.clients.retain(|_, of_client| !of_client.values.is_empty());
    }
}

impl<T> Client<T> {
    fn new() -> Self {
        Self { values: HashMap::new(), order: VecDeque::new() }
    }

    fn add(&mut self, key: Digest, value: &Arc<T>, now: Instant) {
        self.values.insert(key, Arc::clone(value));
        self.order.push_back((now, key, Arc::downgrade(value)));
        // Replacing and removing leave entries behind; without this, their number would have no bound.
        if self.order.len() > 2 * self.values.len() + 16 {
            let values = &self.values;
            self.order.retain(|(_, key, value)| is_current(values, key, value));
        }
    }

    /// Removes the oldest value if `goes` says so of the time at which it came.
    fn remove_oldest(&mut self, goes: impl Fn(Instant) -> bool) -> bool {
        while let Some((at, key, value)) = self.order.front() {
            let is_current = is_current(&self.values, key, value);
            if is_current && !goes(*at) {
                return false;
            }
            if is_current {
                self.values.remove(key);
            }
            self.order.pop_front();
            if is_current {
                return true;
            }
        }
        false
    }
}

fn is_current<T>(values: &HashMap<Digest, Arc<T>>, key: &Digest, value: &Weak<T>) -> bool {
    values.get(key).is_some_and(|there| std::ptr::eq(Arc::as_ptr(there), value.as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::DigestKey;

    fn key(of: usize) -> Digest {
        DigestKey::new([7; 32]).digest("test", &[&of.to_be_bytes()])
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_does_not_push_another_clients_keys_out() {
        let slots = Slots::new(100, Duration::from_secs(3600));
        let [payout, bulk, third] = ["payout", "bulk", "third"].map(Arc::from);
        let is_kept = |client, of| {
            let mut is_new = false;
            slots.get_or_insert(client, key(of), || is_new = true);
            !is_new
        };
        (0..30).for_each(|of| assert!(!is_kept(&payout, of)));
        (1000..6000).for_each(|of| assert!(!is_kept(&bulk, of)));
        assert!((0..30).all(|of| is_kept(&payout, of)), "all of them, since they are less than half");
        assert_eq!(slots.lock().total, 100);
        assert!((5930..6000).all(|of| is_kept(&bulk, of)), "what the other does not use is lent");
        (9000..9050).for_each(|of| assert!(!is_kept(&third, of)));
        assert!((0..30).all(|of| is_kept(&payout, of)) && (9020..9050).all(|of| is_kept(&third, of)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_expired_goes_and_what_was_replaced_takes_no_memory() {
        let slots = Slots::new(100, Duration::from_secs(3600));
        let client = Arc::from("one");
        let mut there = slots.get_or_insert(&client, key(0), || 0);
        for n in 1..1000 {
            let next = Arc::new(n);
            assert!(slots.replace(&client, key(0), &there, &next));
            assert!(!slots.replace(&client, key(0), &there, &next), "it is another one now");
            there = next;
        }
        assert!(slots.lock().clients.values().all(|of| of.order.len() <= 32));
        assert_eq!(slots.remove_where(|n| *n == 5), 0);
        tokio::time::advance(Duration::from_secs(3600)).await;
        slots.get_or_insert(&client, key(1), || 0);
        let state = slots.lock();
        assert_eq!((state.total, state.clients.values().map(|of| of.values.len()).sum::<usize>()), (1, 1));
    }
}
