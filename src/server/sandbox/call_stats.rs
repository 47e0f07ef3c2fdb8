//! How often each simulator was asked, about whom, and what a real one would have billed.
//!
//! Invariant: people are kept as digests, and only [`MOST_PEOPLE`] of them; whoever comes later counts in the totals.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::domain::money::Billed;
use crate::domain::personal::Personal;

const MOST_PEOPLE: usize = 100_000;

/// The counters of one provider.
#[derive(Debug, Default)]
pub(super) struct CallStats {
    pub(super) calls: u64,
    pub(super) refused: u64,
    pub(super) verdicts: u64,
    pub(super) billed: u64,
    people: HashMap<[u8; 32], u64>,
}

impl CallStats {
    /// A request was read completely; about whom, if that could be read too.
    pub(super) fn call(&mut self, id_number: Option<&Personal>) {
        self.calls += 1;
        let Some(id_number) = id_number else { return };
        let person = digest(id_number.expose());
        if self.people.len() < MOST_PEOPLE || self.people.contains_key(&person) {
            *self.people.entry(person).or_default() += 1;
        }
    }

    /// A verdict was worked out, whether or not it arrives.
    pub(super) fn verdict(&mut self, billed: Billed) {
        self.verdicts += 1;
        self.billed += u64::from(billed == Billed::Yes);
    }

    /// How many calls were about this person.
    pub(super) fn calls_of(&self, id_number: &str) -> u64 {
        self.people.get(&digest(id_number)).copied().unwrap_or(0)
    }
}

fn digest(id_number: &str) -> [u8; 32] {
    Sha256::digest(id_number).into()
}
