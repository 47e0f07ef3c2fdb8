//! The names that were tried for each number of a client.
//!
//! Each try has one line in a queue, so that what is over goes in the order in which it came, without a search. The
//! first try of a number stands in the queue of the quiet, each further one in that of the loud; room is made at the
//! quiet end. A line may be stale (its number was forgotten, or has become loud): then it is passed over.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::numbers::AT_A_TIME;

/// One try in so many is kept for numbers with one name.
pub(super) const QUIET_SHARE: usize = 10;

/// A client's question as the guard knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The number, for this client.
    pub(super) number: u64,
    /// The name, for this number.
    pub(super) name: u64,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    tried: HashMap<u64, Vec<Try>>,
    quiet: VecDeque<(Instant, u64)>,
    loud: VecDeque<(Instant, u64)>,
}

/// A name, from its first question on.
#[derive(Debug, Clone, Copy)]
struct Try {
    name: u64,
    at: Instant,
}

impl Names {
    /// Whether one more name is within `most`; a name that was tried before always is.
    /// Refused: since when the oldest try has counted.
    pub(super) fn check(&self, mark: Mark, most: usize) -> Result<(), Instant> {
        let Some(tries) = self.tried.get(&mark.number) else { return Ok(()) };
        match tries.first() {
            Some(oldest) if tries.len() >= most && !knows(tries, mark.name) => Err(oldest.at),
            _ => Ok(()),
        }
    }

    /// Counts a try, unless the name was tried before. Keeps `most` tries of all numbers.
    pub(super) fn count(&mut self, mark: Mark, now: Instant, most: usize) {
        // Nearly all numbers have one name, and there may be a million of them.
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

    /// Lets go of some of what was first tried at `until` or before; whether there may be more.
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

    /// The same for all of one number, whose lines may still be in the queues.
    pub(super) fn lapse_of(&mut self, number: u64, until: Instant) {
        lapse_of(&mut self.tried, number, until);
    }

    /// Forgets a number; how many names were tried.
    pub(super) fn forget(&mut self, number: u64) -> usize {
        let Some(tries) = self.tried.remove(&number) else { return 0 };
        for queue in [&mut self.quiet, &mut self.loud] {
            queue.retain(|(_, other)| *other != number);
        }
        tries.len()
    }

    /// Gives up one line: that of the oldest number with one name, or if these are few, of the oldest with several.
    /// Some quiet ones always stay, or a new number would go before its second name could come.
    fn make_room(&mut self, most: usize) {
        if self.quiet.len() <= most / QUIET_SHARE {
            if let Some((_, number)) = self.loud.pop_front() {
                self.tried.remove(&number);
            }
        } else if let Some((_, number)) = self.quiet.pop_front()
            // Otherwise it has become loud, and its further lines are with the loud.
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
