//! The numbers that each client has asked about. Bounded by the configured limit: numbers beyond it are not stored.

use std::collections::HashMap;

use hashlink::LinkedHashMap;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, Asked>);

/// One client's numbers, each with its first question, oldest first.
type Asked = LinkedHashMap<u64, Instant>;

impl Numbers {
    /// Counts a number, unless the client has asked about it since `until`. A refusal returns when the oldest of the
    /// `most` counted numbers was first asked about.
    pub(super) fn count(
        &mut self,
        client: &str,
        number: u64,
        most: usize,
        until: Option<Instant>,
        now: Instant,
    ) -> Result<(), Instant> {
        // Client names come from the configuration, so the table stays small.
        if !self.0.contains_key(client) {
            self.0.insert(client.to_owned(), Asked::new());
        }
        let Some(asked) = self.0.get_mut(client) else { return Ok(()) };
        match asked.get(&number).copied() {
            Some(first) if until.is_none_or(|until| first > until) => return Ok(()),
            // Lapsed, but not removed yet.
            Some(_) => drop(asked.remove(&number)),
            None => {}
        }
        // More than one only after the limit was lowered.
        while asked.len() >= most && asked.front().is_some_and(|(_, first)| until.is_some_and(|until| *first <= until))
        {
            asked.pop_front();
        }
        match asked.front() {
            Some((_, oldest)) if asked.len() >= most => Err(*oldest),
            _ => {
                asked.insert(number, now);
                Ok(())
            }
        }
    }

    /// Removes numbers first asked about at `until` or before: at most `most` of each client. Returns whether there may
    /// be more.
    pub(super) fn lapse(&mut self, until: Instant, most: usize) -> bool {
        let mut more = false;
        self.0.retain(|_, asked| {
            more |= lapse(asked, until, most);
            !asked.is_empty()
        });
        more
    }

    /// The same for one client.
    pub(super) fn lapse_of(&mut self, client: &str, until: Instant, most: usize) {
        if let Some(asked) = self.0.get_mut(client) {
            lapse(asked, until, most);
        }
    }

    /// Removes a number of a client. Returns whether it was counted.
    pub(super) fn forget(&mut self, client: &str, number: u64) -> bool {
        self.0.get_mut(client).is_some_and(|asked| asked.remove(&number).is_some())
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.0.values().map(LinkedHashMap::len).sum()
    }
}

/// Removes at most `most`. Returns whether there may be more.
fn lapse(asked: &mut Asked, until: Instant, most: usize) -> bool {
    let mut left = most;
    while left > 0 && asked.front().is_some_and(|(_, first)| *first <= until) {
        left -= 1;
        asked.pop_front();
    }
    left == 0
}
