//! The names tried for each number of a client.
//!
//! Each try has one entry in a queue, so that lapsed tries are removed in order, without a search. A number is quiet
//! while it has one name and loud once it has several: its first try goes to the quiet queue, each further one to the
//! loud queue. Eviction takes from the quiet queue first. An entry may be stale (its number has lapsed, was evicted or
//! has become loud) and is then skipped.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::numbers::AT_A_TIME;

/// One in this many tries is reserved for numbers with one name.
pub(super) const QUIET_SHARE: usize = 10;

/// A client's question as stored by the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Digest of client and number.
    pub(super) number: u64,
    /// Digest of number and name.
    pub(super) name: u64,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    tried: HashMap<u64, Vec<Try>>,
    quiet: VecDeque<(Instant, u64)>,
    loud: VecDeque<(Instant, u64)>,
}

/// A name and when it was first tried.
#[derive(Debug, Clone, Copy)]
struct Try {
    name: u64,
    at: Instant,
}

impl Names {
    /// Whether another name is within `most`. A name that was tried before always is. A refusal returns when the oldest
    /// try was made.
    pub(super) fn check(&self, mark: Mark, most: usize) -> Result<(), Instant> {
        let Some(tries) = self.tried.get(&mark.number) else { return Ok(()) };
        match tries.first() {
            Some(oldest) if tries.len() >= most && !knows(tries, mark.name) => Err(oldest.at),
            _ => Ok(()),
        }
    }

    /// Counts a try, unless the name was tried before. Keeps at most `most` tries over all numbers.
    pub(super) fn count(&mut self, mark: Mark, now: Instant, most: usize) {
        // Nearly all numbers have one name, and there may be a million of them, so reserve no more.
        let tries = self.tried.entry(mark.number).or_insert_with(|| Vec::with_capacity(1));
        if knows(tries, mark.name) {
            return;
        }
        let queue = if tries.is_empty() { &mut self.quiet } else { &mut self.loud };
        tries.push(Try { name: mark.name, at: now });
        queue.push_back((now, mark.number));
        while self.quiet.len() + self.loud.len() > most {
            self.make_room(most);
        }
    }

    /// Removes one batch of tries made at `until` or before. Returns whether there may be more.
    pub(super) fn lapse(&mut self, until: Instant) -> bool {
        let mut left = AT_A_TIME;
        for queue in [&mut self.quiet, &mut self.loud] {
            while left > 0
                && let Some((at, number)) = queue.pop_front_if(|(at, _)| *at <= until)
            {
                left -= 1;
                lapse_of(&mut self.tried, number, at);
            }
        }
        left == 0
    }

    /// Removes all lapsed tries of one number; their queue entries stay behind as stale.
    pub(super) fn lapse_of(&mut self, number: u64, until: Instant) {
        lapse_of(&mut self.tried, number, until);
    }

    /// Removes a number. Returns how many names were tried for it.
    pub(super) fn forget(&mut self, number: u64) -> usize {
        let Some(tries) = self.tried.remove(&number) else { return 0 };
        for queue in [&mut self.quiet, &mut self.loud] {
            queue.retain(|(_, other)| *other != number);
        }
        tries.len()
    }

    /// Evicts one entry: the oldest quiet number, or the oldest loud one if few are quiet. Some quiet entries always
    /// stay, otherwise a new number would be evicted before its second name could arrive.
    fn make_room(&mut self, most: usize) {
        if self.quiet.len() <= most / QUIET_SHARE {
            if let Some((_, number)) = self.loud.pop_front() {
                self.tried.remove(&number);
            }
        } else if let Some((_, number)) = self.quiet.pop_front()
            // Otherwise the number has become loud, and its further entries are in the loud queue.
            && self.tried.get(&number).is_some_and(|tries| tries.len() == 1)
        {
            self.tried.remove(&number);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.tried.len(), self.quiet.len() + self.loud.len())
    }
}

fn lapse_of(tried: &mut HashMap<u64, Vec<Try>>, number: u64, until: Instant) {
    if let Some(tries) = tried.get_mut(&number) {
        tries.retain(|one| one.at > until);
        if tries.is_empty() {
            tried.remove(&number);
        }
    }
}

fn knows(tries: &[Try], name: u64) -> bool {
    tries.iter().any(|one| one.name == name)
}
