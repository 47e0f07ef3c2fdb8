//! Call stats of each simulator: how many requests it got, about which people, and how many a real provider would bill.
//!
//! Invariant: ID numbers are kept as digests. Only the first [`MOST_PEOPLE`] are counted per person; later ones count
//! in the totals only.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::domain::money::Billed;
use crate::domain::personal::Personal;

const MOST_PEOPLE: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct CallStats {
    pub(super) calls: u64,
    pub(super) refused: u64,
    pub(super) verdicts: u64,
    pub(super) billed: u64,
    people: HashMap<[u8; 32], u64>,
}

impl CallStats {
    /// Counts a request that was read completely. `id_number` is `None` if the person could not be parsed.
    pub(super) fn call(&mut self, id_number: Option<&Personal>) {
        self.calls += 1;
        let Some(id_number) = id_number else { return };
        let person = digest(id_number.expose());
        if self.people.len() < MOST_PEOPLE || self.people.contains_key(&person) {
            *self.people.entry(person).or_default() += 1;
        }
    }

    /// Counts a verdict, whether or not the answer reaches the client.
    pub(super) fn verdict(&mut self, billed: Billed) {
        self.verdicts += 1;
        self.billed += u64::from(billed == Billed::Yes);
    }

    pub(super) fn calls_of(&self, id_number: &str) -> u64 {
        self.people.get(&digest(id_number)).copied().unwrap_or(0)
    }
}

fn digest(id_number: &str) -> [u8; 32] {
    Sha256::digest(id_number).into()
}
