//! The names tried for each number of a client.
//!
//! A number is quiet while it has one name, and loud from its second name on. Both kinds are kept in the order of their
//! latest try, so that lapsed tries and those that make room are found at the front, without a search. Eviction takes
//! quiet numbers first.

use hashlink::LinkedHashMap;
use tokio::time::Instant;

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
    quiet: LinkedHashMap<u64, Try>,
    /// Never empty. The oldest try comes first.
    loud: LinkedHashMap<u64, Vec<Try>>,
    /// The number of tries in `loud`.
    loud_tries: usize,
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
        let tries = self.of(mark.number);
        match tries.first() {
            Some(oldest) if tries.len() >= most && !knows(tries, mark.name) => Err(oldest.at),
            _ => Ok(()),
        }
    }

    /// Counts a try, unless the name was tried before. Keeps at most `most` tries over all numbers.
    pub(super) fn count(&mut self, mark: Mark, now: Instant, most: usize) {
        let Mark { number, name } = mark;
        if knows(self.of(number), name) {
            return;
        }
        let one = Try { name, at: now };
        if let Some(first) = self.quiet.remove(&number) {
            self.loud.insert(number, vec![first, one]);
            self.loud_tries += 2;
        } else if let Some(tries) = self.loud.to_back(&number) {
            tries.push(one);
            self.loud_tries += 1;
        } else {
            self.quiet.insert(number, one);
        }
        // Once: the tries grew by one, and an eviction removes one or more.
        if self.len() > most {
            self.make_room(most);
        }
    }

    /// Removes numbers whose latest try was made at `until` or before: at most `most`. Returns whether there may be
    /// more.
    pub(super) fn lapse(&mut self, until: Instant, most: usize) -> bool {
        let mut left = most;
        while left > 0 && self.quiet.front().is_some_and(|(_, one)| one.at <= until) {
            left -= 1;
            self.quiet.pop_front();
        }
        while left > 0 && self.loud.front().is_some_and(|(_, tries)| tries.last().is_none_or(|one| one.at <= until)) {
            left -= 1;
            self.evict_loud();
        }
        left == 0
    }

    /// Removes all lapsed tries of one number.
    pub(super) fn lapse_of(&mut self, number: u64, until: Instant) {
        if self.quiet.get(&number).is_some_and(|one| one.at <= until) {
            self.quiet.remove(&number);
        }
        if let Some(tries) = self.loud.get_mut(&number) {
            let before = tries.len();
            tries.retain(|one| one.at > until);
            self.loud_tries -= before - tries.len();
            if tries.is_empty() {
                self.loud.remove(&number);
            }
        }
    }

    /// Removes a number. Returns how many names were tried for it.
    pub(super) fn forget(&mut self, number: u64) -> usize {
        let loud = self.loud.remove(&number).map_or(0, |tries| tries.len());
        self.loud_tries -= loud;
        loud + usize::from(self.quiet.remove(&number).is_some())
    }

    /// Evicts the oldest quiet number, or the oldest loud one if few are quiet. Some quiet numbers always stay,
    /// otherwise a new number would be evicted before its second name could arrive.
    fn make_room(&mut self, most: usize) {
        if self.quiet.len() <= most / QUIET_SHARE {
            self.evict_loud();
        } else {
            self.quiet.pop_front();
        }
    }

    fn evict_loud(&mut self) {
        let tries = self.loud.pop_front().map_or(0, |(_, tries)| tries.len());
        self.loud_tries -= tries;
    }

    fn of(&self, number: u64) -> &[Try] {
        let quiet = || self.quiet.get(&number).map(std::slice::from_ref);
        self.loud.get(&number).map(Vec::as_slice).or_else(quiet).unwrap_or_default()
    }

    /// The number of tries.
    pub(super) fn len(&self) -> usize {
        self.quiet.len() + self.loud_tries
    }

    #[cfg(test)]
    pub(super) fn tries_of(&self, number: u64) -> usize {
        self.of(number).len()
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> usize {
        self.quiet.len() + self.loud.len()
    }
}

fn knows(tries: &[Try], name: u64) -> bool {
    tries.iter().any(|one| one.name == name)
}
