//! The names tried for each number of a client.
//!
//! A number is quiet while it has one name, and loud from its second name on. Tries of both kinds are kept in the order of
//! their number's latest try, so that lapsed tries and those that make room are found at the front, without a search.
//! Eviction takes quiet numbers first.

use std::collections::BTreeMap;

use super::mark::{Mark, hash_of};
use crate::storage::table::{At, Packed, Record, Table};

/// One in this many tries is reserved for numbers with one name.
pub(super) const QUIET_SHARE: usize = 10;

/// The lists of tries. Those of a loud number are neighbours.
const QUIET: usize = 0;
const LOUD: usize = 1;

#[derive(Debug, Default)]
pub(super) struct Names {
    tries: Table<Try, 1>,
    /// The number of tries in the loud list.
    loud: usize,
}

/// A name of a number, and when a client first tried it. All fields are unaligned, so that none is padded.
#[derive(Debug, Clone, Copy, Default)]
struct Try {
    number: [u8; 8],
    /// Six bytes are enough to tell apart the few names of a number.
    name: Packed,
    at: Packed,
    client: [u8; 3],
    is_loud: bool,
}

impl Names {
    /// Whether another name is within `most`. A name that was tried before always is. A refusal returns when the oldest
    /// try was made.
    pub(super) fn check(&self, client: u32, mark: Mark, most: usize) -> Result<(), i64> {
        let (mut count, mut oldest) = (0, None::<i64>);
        for (_, one) in self.of(client, mark.number) {
            if one.name == mark.name {
                return Ok(());
            }
            count += 1;
            oldest = Some(oldest.map_or(one.at.get(), |oldest| oldest.min(one.at.get())));
        }
        match oldest {
            Some(oldest) if count >= most => Err(oldest),
            _ => Ok(()),
        }
    }

    /// Whether the name was tried before.
    pub(super) fn knows(&self, client: u32, mark: Mark) -> bool {
        self.of(client, mark.number).any(|(_, one)| one.name == mark.name)
    }

    /// Counts a try, unless the name was tried before. Keeps at most `most` tries over all numbers.
    pub(super) fn count(&mut self, client: u32, mark: Mark, now: i64, most: usize) {
        if self.of(client, mark.number).any(|(_, one)| one.name == mark.name) {
            return;
        }
        let others: Vec<At> = self.of(client, mark.number).map(|(at, _)| at).collect();
        let is_loud = !others.is_empty();
        for at in others {
            if let Some(one) = self.tries.get_mut(at)
                && !std::mem::replace(&mut one.is_loud, true)
            {
                self.loud += 1;
            }
            self.tries.to_back(0, LOUD, at);
        }
        let (number, name, at) = (mark.number.to_le_bytes(), mark.name, Packed::new(now));
        let one = Try { number, name, at, client: three_bytes(client), is_loud };
        self.tries.insert(one, [if is_loud { LOUD } else { QUIET }]);
        self.loud += usize::from(is_loud);
        // Once: the tries grew by one, and an eviction removes one or more.
        if self.len() > most {
            self.make_room(most);
        }
    }

    /// Removes numbers whose latest try was made at `until` or before: at most `most`. Returns whether there may be
    /// more.
    pub(super) fn lapse(&mut self, until: i64, most: usize) -> bool {
        let mut left = most;
        while left > 0
            && let Some(at) = self.tries.front(0, QUIET)
            && self.tries.get(at).is_some_and(|one| one.at.get() <= until)
        {
            left -= 1;
            self.remove(at);
        }
        while left > 0
            && let Some(at) = self.tries.front(0, LOUD)
            && let Some(one) = self.tries.get(at)
            && self.of_same(one).all(|(_, one)| one.at.get() <= until)
        {
            left -= 1;
            self.evict(at);
        }
        left == 0
    }

    /// Removes all lapsed tries of one number.
    pub(super) fn lapse_of(&mut self, client: u32, number: u64, until: i64) {
        let client = three_bytes(client);
        let has_lapsed =
            |one: &Try| one.number == number.to_le_bytes() && one.client == client && one.at.get() <= until;
        while let Some(at) = self.tries.find(hash_of(number), has_lapsed) {
            self.remove(at);
        }
    }

    /// Removes a number. Returns how many names each client has tried for it.
    pub(super) fn forget(&mut self, number: u64) -> BTreeMap<u32, usize> {
        let mut forgotten = BTreeMap::new();
        while let Some(at) = self.tries.find(hash_of(number), |one| one.number == number.to_le_bytes())
            && let Some(one) = self.remove(at)
        {
            let [a, b, c] = one.client;
            *forgotten.entry(u32::from_le_bytes([a, b, c, 0])).or_default() += 1;
        }
        forgotten
    }

    /// Evicts the oldest quiet number, or the oldest loud one if few are quiet. Some quiet numbers always stay,
    /// otherwise a new number would be evicted before its second name could arrive.
    fn make_room(&mut self, most: usize) {
        let quiet = self.tries.len() - self.loud;
        let list = if quiet <= most / QUIET_SHARE { LOUD } else { QUIET };
        if let Some(at) = self.tries.front(0, list) {
            self.evict(at);
        }
    }

    /// Removes all tries of the number that is tried there.
    fn evict(&mut self, at: At) {
        let Some(Try { number, client, .. }) = self.tries.get(at).copied() else { return };
        let hash = hash_of(u64::from_le_bytes(number));
        while let Some(at) = self.tries.find(hash, |one| one.number == number && one.client == client) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: At) -> Option<Try> {
        let one = self.tries.remove(at)?;
        self.loud -= usize::from(one.is_loud);
        Some(one)
    }

    /// The tries of a client at a number.
    fn of(&self, client: u32, number: u64) -> impl Iterator<Item = (At, &Try)> {
        let (client, bytes) = (three_bytes(client), number.to_le_bytes());
        self.tries.bucket(hash_of(number)).filter(move |(_, one)| one.number == bytes && one.client == client)
    }

    fn of_same(&self, one: &Try) -> impl Iterator<Item = (At, &Try)> {
        let Try { number, client, .. } = *one;
        self.tries.bucket(one.hash()).filter(move |(_, one)| one.number == number && one.client == client)
    }

    /// The number of tries.
    pub(super) fn len(&self) -> usize {
        self.tries.len()
    }

    #[cfg(test)]
    pub(super) fn tries_of(&self, client: u32, number: u64) -> usize {
        self.of(client, number).count()
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> usize {
        self.tries.iter().map(|one| (one.number, one.client)).collect::<std::collections::HashSet<_>>().len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.tries.bytes()
    }
}

/// Clients are numbered, and there are fewer than 16 million.
fn three_bytes(client: u32) -> [u8; 3] {
    let [a, b, c, _] = client.to_le_bytes();
    [a, b, c]
}

impl Record for Try {
    fn hash(&self) -> u32 {
        hash_of(u64::from_le_bytes(self.number))
    }
}
