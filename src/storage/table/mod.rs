//! Hash tables of a great many small records: what is remembered about people.
//!
//! A record costs its own size, four bytes for its place in the index, four for its bucket, and eight for each list
//! that it is in. Nothing is boxed, and no operation touches more than a few records, however many there are: the index
//! grows and shrinks by one bucket at a time (linear hashing), records lie in chunks that are never copied, and the last
//! record takes the place of one that is removed, so that memory follows what is remembered.
//!
//! Records are found by hash alone. The hash must be uniform and unpredictable, as the bytes of a keyed digest are.

use std::fmt;

use self::chunks::Chunks;

mod chunks;
mod names;
mod packed;
#[cfg(test)]
mod tests;

pub use names::Names;
pub use packed::{Epoch, Packed, millis};

/// No table can have more records.
pub const MOST_RECORDS: usize = 1 << 31;

/// Ends a bucket.
const NONE: u32 = u32::MAX;

/// A record of a [`Table`]. A removed one is overwritten by the default.
pub trait Record: Default {
    fn hash(&self) -> u32;
}

/// Records by hash. Each is in one list of each of the `ORDERS`, for example by age and by use.
pub struct Table<T, const ORDERS: usize> {
    slots: Chunks<Slot<T, ORDERS>>,
    /// The first record of each bucket.
    buckets: Chunks<u32>,
    /// Each list is a ring that goes through its end.
    ends: [Vec<Link>; ORDERS],
}

/// Where a record is, until the next removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(u32);

struct Slot<T, const ORDERS: usize> {
    record: T,
    /// The next record of the same bucket.
    next: u32,
    links: [Link; ORDERS],
}

/// The neighbours in a list: the index of a record, or the [`end_of`] the list.
#[derive(Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

impl<T: Record, const ORDERS: usize> Table<T, ORDERS> {
    pub fn new() -> Self {
        let mut buckets = Chunks::new();
        buckets.push(NONE);
        Self { slots: Chunks::new(), buckets, ends: std::array::from_fn(|_| Vec::new()) }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, at: At) -> Option<&T> {
        self.slot(at.0).map(|slot| &slot.record)
    }

    /// The record, to be changed in all but its hash.
    pub fn get_mut(&mut self, at: At) -> Option<&mut T> {
        self.slot_mut(at.0).map(|slot| &mut slot.record)
    }

    /// The records with this hash, and perhaps others.
    pub fn bucket(&self, hash: u32) -> impl Iterator<Item = (At, &T)> {
        let mut next = self.buckets.get(self.bucket_of(hash)).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let (at, slot) = (At(next), self.slot(next)?);
            next = slot.next;
            Some((at, &slot.record))
        })
    }

    /// A record with this hash that `is` the one.
    pub fn find(&self, hash: u32, is: impl Fn(&T) -> bool) -> Option<At> {
        self.bucket(hash).find(|(_, record)| is(record)).map(|(at, _)| at)
    }

    /// Adds a record, at the back of one list of each order. There must be room.
    pub fn insert(&mut self, record: T, lists: [usize; ORDERS]) -> At {
        let at = u32::try_from(self.slots.len()).unwrap_or(NONE);
        let bucket = self.bucket_of(record.hash());
        let next = self.buckets.get_mut(bucket).map_or(NONE, |first| std::mem::replace(first, at));
        self.slots.push(Slot { record, next, links: [Link::NOWHERE; ORDERS] });
        for (order, list) in lists.into_iter().enumerate() {
            self.link(order, list, at, true);
        }
        if self.slots.len() > self.buckets.len() {
            self.split_a_bucket();
        }
        At(at)
    }

    pub fn remove(&mut self, At(at): At) -> Option<T> {
        let hash = self.slot(at)?.record.hash();
        for order in 0..ORDERS {
            self.unlink(order, at);
        }
        let next = self.slot(at)?.next;
        self.replace_in_bucket(hash, at, next);
        let last = u32::try_from(self.slots.len()).unwrap_or(NONE).wrapping_sub(1);
        // Overwritten rather than left in memory that may not be used again for long.
        let taken = std::mem::replace(self.slot_mut(last)?, Slot::empty());
        self.slots.pop();
        let removed = if last == at { taken.record } else { self.relocate(taken, last, at)? };
        for _ in 0..2 {
            if self.buckets.len() > 2 * self.slots.len().max(1) {
                self.merge_a_bucket();
            }
        }
        Some(removed)
    }

    /// Puts the record that was at `last` in the place of the one at `at`, which is returned.
    fn relocate(&mut self, slot: Slot<T, ORDERS>, last: u32, at: u32) -> Option<T> {
        self.replace_in_bucket(slot.record.hash(), last, at);
        for (order, link) in slot.links.into_iter().enumerate() {
            self.set_after(order, link.before, at);
            self.set_before(order, link.after, at);
        }
        Some(std::mem::replace(self.slot_mut(at)?, slot).record)
    }

    /// The first record of a list.
    pub fn front(&self, order: usize, list: usize) -> Option<At> {
        let first = self.ends.get(order)?.get(list)?.after;
        self.slot(first).map(|_| At(first))
    }

    /// Puts a record at the back of a list of `order`, and takes it out of the one that it was in.
    pub fn to_back(&mut self, order: usize, list: usize, At(at): At) {
        self.unlink(order, at);
        self.link(order, list, at, true);
    }

    /// The same for the front.
    pub fn to_front(&mut self, order: usize, list: usize, At(at): At) {
        self.unlink(order, at);
        self.link(order, list, at, false);
    }

    fn link(&mut self, order: usize, list: usize, at: u32, at_the_back: bool) {
        let end = end_of(list);
        let Some(ends) = self.ends.get_mut(order) else { return };
        while ends.len() <= list {
            let own = end_of(ends.len());
            ends.push(Link { before: own, after: own });
        }
        let Some(ring) = ends.get(list).copied() else { return };
        let link = if at_the_back {
            Link { before: ring.before, after: end }
        } else {
            Link { before: end, after: ring.after }
        };
        if let Some(own) = self.link_mut(order, at) {
            *own = link;
        }
        self.set_after(order, link.before, at);
        self.set_before(order, link.after, at);
    }

    fn unlink(&mut self, order: usize, at: u32) {
        let Some(Link { before, after }) = self.link_mut(order, at).copied() else { return };
        self.set_after(order, before, after);
        self.set_before(order, after, before);
    }

    fn set_after(&mut self, order: usize, at: u32, after: u32) {
        if let Some(link) = self.link_mut(order, at) {
            link.after = after;
        }
    }

    fn set_before(&mut self, order: usize, at: u32, before: u32) {
        if let Some(link) = self.link_mut(order, at) {
            link.before = before;
        }
    }

    fn link_mut(&mut self, order: usize, at: u32) -> Option<&mut Link> {
        match self.slots.get_mut(at as usize) {
            Some(slot) => slot.links.get_mut(order),
            None => self.ends.get_mut(order)?.get_mut(end_of(0).wrapping_sub(at) as usize),
        }
    }

    fn bucket_of(&self, hash: u32) -> usize {
        bucket_among(self.buckets.len(), hash)
    }

    /// Adds a bucket, and moves to it the records of an older one that now belong there.
    fn split_a_bucket(&mut self) {
        let new = self.buckets.len();
        let old = parent_of(new);
        self.buckets.push(NONE);
        let mut next = self.buckets.get(old).copied().unwrap_or(NONE);
        let (mut stays, mut moves) = (NONE, NONE);
        while let Some(slot) = self.slots.get_mut(next as usize) {
            let first = if bucket_among(new + 1, slot.record.hash()) == new { &mut moves } else { &mut stays };
            let at = std::mem::replace(&mut next, slot.next);
            slot.next = std::mem::replace(first, at);
        }
        for (bucket, first) in [(old, stays), (new, moves)] {
            if let Some(place) = self.buckets.get_mut(bucket) {
                *place = first;
            }
        }
    }

    /// Removes the last bucket, and gives its records back to the one that it was split from.
    fn merge_a_bucket(&mut self) {
        let Some(mut next) = self.buckets.pop() else { return };
        let old = parent_of(self.buckets.len());
        while let Some(slot) = self.slots.get_mut(next as usize)
            && let Some(first) = self.buckets.get_mut(old)
        {
            let at = std::mem::replace(&mut next, slot.next);
            slot.next = std::mem::replace(first, at);
        }
    }

    /// Replaces the index of one record in the bucket of `hash` by that of another.
    fn replace_in_bucket(&mut self, hash: u32, from: u32, to: u32) {
        let bucket = self.bucket_of(hash);
        let Some(first) = self.buckets.get_mut(bucket) else { return };
        if *first == from {
            *first = to;
            return;
        }
        let mut at = *first;
        while let Some(slot) = self.slots.get_mut(at as usize) {
            if slot.next == from {
                slot.next = to;
                return;
            }
            at = slot.next;
        }
    }

    fn slot(&self, at: u32) -> Option<&Slot<T, ORDERS>> {
        self.slots.get(at as usize)
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot<T, ORDERS>> {
        self.slots.get_mut(at as usize)
    }

    /// The bytes that the table takes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.slots.bytes() + self.buckets.bytes()
    }

    /// All records, in no order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(|at| self.slots.get(at)).map(|slot| &slot.record)
    }
}

/// The index that stands for the end of a list.
fn end_of(list: usize) -> u32 {
    u32::try_from(list).map_or(0, |list| (NONE - 1).saturating_sub(list))
}

/// The bucket of a hash among so many: its low bits, one bit less where the bucket does not exist yet.
fn bucket_among(buckets: usize, hash: u32) -> usize {
    let mask = buckets.next_power_of_two() - 1;
    let bucket = hash as usize & mask;
    if bucket < buckets { bucket } else { bucket & (mask >> 1) }
}

/// The bucket whose records a new one shares: its number without the highest bit.
fn parent_of(bucket: usize) -> usize {
    bucket & ((bucket + 1).next_power_of_two() - 1) >> 1
}

impl<T: Record, const ORDERS: usize> Slot<T, ORDERS> {
    fn empty() -> Self {
        Self { record: T::default(), next: NONE, links: [Link::NOWHERE; ORDERS] }
    }
}

impl Link {
    const NOWHERE: Self = Self { before: NONE, after: NONE };
}

impl<T: Record, const ORDERS: usize> Default for Table<T, ORDERS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const ORDERS: usize> fmt::Debug for Table<T, ORDERS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table of {}", self.slots.len())
    }
}
