//! The numbers that each client has asked about. Bounded by the configured limit: numbers beyond it are not stored.

use super::mark::hash_of;
use crate::storage::table::{At, Packed, Record, Table};

#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// In one list for each client, oldest first.
    asked: Table<Asked, 1>,
    /// How many each client has.
    counts: Vec<usize>,
    /// How many each has asked about at other replicas, and not here; empty if that is not known.
    elsewhere: Vec<usize>,
}

/// A number, and when a client first asked about it.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    number: [u8; 8],
    client: u32,
    first: Packed,
}

impl Numbers {
    /// Counts a number, unless the client has asked about it since `until`. Returns whether it was counted. A refusal
    /// returns when the oldest of the `most` counted numbers was first asked about; `None` if none was here.
    pub(super) fn count(
        &mut self,
        client: u32,
        number: u64,
        most: usize,
        until: i64,
        now: i64,
    ) -> Result<bool, Option<i64>> {
        if let Some(at) = self.find(client, number) {
            if self.asked.get(at).is_some_and(|asked| asked.first.get() > until) {
                return Ok(false);
            }
            // Lapsed, but not removed yet.
            self.remove(at);
        }
        let most = most.saturating_sub(self.elsewhere_of(client));
        // More than one only after the limit was lowered.
        while self.count_of(client) >= most && self.lapse_one(client, until) {}
        if self.count_of(client) >= most {
            return Err(self.oldest(client));
        }
        self.asked.insert(Asked { number: number.to_le_bytes(), client, first: Packed::new(now) }, [client as usize]);
        if self.counts.len() <= client as usize {
            self.counts.resize(client as usize + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(client as usize) {
            *count += 1;
        }
        Ok(true)
    }

    /// How many numbers each client has.
    pub(super) fn counts(&self) -> Vec<usize> {
        self.counts.clone()
    }

    /// Takes how many numbers each client has asked about elsewhere only.
    pub(super) fn heard(&mut self, elsewhere: Vec<usize>) {
        self.elsewhere = elsewhere;
    }

    fn elsewhere_of(&self, client: u32) -> usize {
        self.elsewhere.get(client as usize).copied().unwrap_or_default()
    }

    /// Removes numbers first asked about at `until` or before: at most `most` of each client. Returns whether there may
    /// be more.
    pub(super) fn lapse(&mut self, until: i64, most: usize) -> bool {
        let clients = u32::try_from(self.counts.len()).unwrap_or(u32::MAX);
        let mut more = false;
        for client in 0..clients {
            more |= self.lapse_of(client, until, most);
        }
        more
    }

    /// The same for one client.
    pub(super) fn lapse_of(&mut self, client: u32, until: i64, most: usize) -> bool {
        (0..most).all(|_| self.lapse_one(client, until))
    }

    /// Removes a number. Returns the clients that had asked about it.
    pub(super) fn forget(&mut self, number: u64) -> Vec<u32> {
        let mut clients = Vec::new();
        while let Some(at) = self.asked.find(hash_of(number), |asked| asked.number == number.to_le_bytes())
            && let Some(asked) = self.remove(at)
        {
            clients.push(asked.client);
        }
        clients
    }

    /// Removes the oldest number of a client, if it was first asked about at `until` or before.
    fn lapse_one(&mut self, client: u32, until: i64) -> bool {
        let lapsed = self.oldest(client).is_some_and(|oldest| oldest <= until);
        lapsed && self.asked.front(0, client as usize).is_some_and(|at| self.remove(at).is_some())
    }

    fn oldest(&self, client: u32) -> Option<i64> {
        Some(self.asked.get(self.asked.front(0, client as usize)?)?.first.get())
    }

    fn count_of(&self, client: u32) -> usize {
        self.counts.get(client as usize).copied().unwrap_or_default()
    }

    fn find(&self, client: u32, number: u64) -> Option<At> {
        let number = (hash_of(number), number.to_le_bytes());
        self.asked.find(number.0, |asked| asked.number == number.1 && asked.client == client)
    }

    fn remove(&mut self, at: At) -> Option<Asked> {
        let asked = self.asked.remove(at)?;
        if let Some(count) = self.counts.get_mut(asked.client as usize) {
            *count -= 1;
        }
        Some(asked)
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        assert_eq!(self.counts.iter().sum::<usize>(), self.asked.len());
        self.asked.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.asked.bytes()
    }
}

impl Record for Asked {
    fn hash(&self) -> u32 {
        hash_of(u64::from_le_bytes(self.number))
    }
}
