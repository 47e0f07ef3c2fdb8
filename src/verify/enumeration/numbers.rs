//! The numbers that each client has asked about. Bounded by the limit itself: what is beyond it is not kept.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::time::Instant;

/// So many lines are let go of at a time, so that nobody waits for the rubbish of a busy hour.
pub(super) const AT_A_TIME: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, Asked>);

/// One client's numbers, each from its first question on.
#[derive(Debug, Default)]
struct Asked {
    known: HashSet<u64>,
    /// The same in the order in which they came.
    order: VecDeque<(Instant, u64)>,
}

impl Numbers {
    /// Counts a number, unless the client has asked about it before.
    /// Refused: since when the oldest of `most` has counted.
    pub(super) fn count(&mut self, client: &str, number: u64, most: usize, now: Instant) -> Result<(), Instant> {
        // Clients come from the configuration, so this grows no further than that.
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

    /// Lets go of some of what was first asked at `until` or before; whether there may be more.
    pub(super) fn lapse(&mut self, until: Instant) -> bool {
        let mut more = false;
        self.0.retain(|_, asked| {
            more |= asked.lapse(until);
            !asked.order.is_empty()
        });
        more
    }

    /// The same for one client.
    pub(super) fn lapse_of(&mut self, client: &str, until: Instant) {
        if let Some(asked) = self.0.get_mut(client) {
            asked.lapse(until);
        }
    }

    /// Forgets a number of a client; whether it was counted.
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
