//! The numbers that each client has asked about. Bounded by the configured limit: numbers beyond it are not stored.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::time::Instant;

/// Lapsed entries are removed in batches of this size, so that no question waits for the clean-up after a busy hour.
pub(super) const AT_A_TIME: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, Asked>);

/// One client's numbers, each since its first question.
#[derive(Debug, Default)]
struct Asked {
    known: HashSet<u64>,
    /// The same numbers, oldest first.
    order: VecDeque<(Instant, u64)>,
}

impl Numbers {
    /// Counts a number, unless the client has asked about it before. A refusal returns when the oldest of the `most`
    /// counted numbers was first asked about.
    pub(super) fn count(&mut self, client: &str, number: u64, most: usize, now: Instant) -> Result<(), Instant> {
        // Client names come from the configuration, so the table stays small.
        if !self.0.contains_key(client) {
            self.0.insert(client.to_owned(), Asked::default());
        }
        let Some(asked) = self.0.get_mut(client) else { return Ok(()) };
        if asked.known.contains(&number) {
            return Ok(());
        }
        match asked.order.front() {
            Some((oldest, _)) if asked.known.len() >= most => Err(*oldest),
            _ => {
                asked.known.insert(number);
                asked.order.push_back((now, number));
                Ok(())
            }
        }
    }

    /// Removes one batch of numbers first asked about at `until` or before. Returns whether there may be more.
    pub(super) fn lapse(&mut self, until: Instant) -> bool {
        let mut more = false;
        self.0.retain(|_, asked| {
            more |= asked.lapse(until);
            !asked.order.is_empty()
        });
        more
    }

    pub(super) fn lapse_of(&mut self, client: &str, until: Instant) {
        if let Some(asked) = self.0.get_mut(client) {
            asked.lapse(until);
        }
    }

    /// Removes a number of a client. Returns whether it was counted.
    pub(super) fn forget(&mut self, client: &str, number: u64) -> bool {
        let Some(asked) = self.0.get_mut(client) else { return false };
        let known = asked.known.remove(&number);
        if known {
            asked.order.retain(|(_, other)| *other != number);
        }
        known
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.0.values().map(|asked| asked.order.len()).sum()
    }
}

impl Asked {
    fn lapse(&mut self, until: Instant) -> bool {
        let mut left = AT_A_TIME;
        while left > 0
            && let Some((_, number)) = self.order.pop_front_if(|(at, _)| *at <= until)
        {
            left -= 1;
            self.known.remove(&number);
        }
        left == 0
    }
}
