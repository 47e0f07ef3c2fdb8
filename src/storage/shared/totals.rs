//! Budgets of all replicas together. Each replica writes its own absolute totals, and what is spent is the sum of the
//! fields: a write that comes twice, is lost or flushed heals by the next one. Counting up and down would drift.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    Client,
    Provider,
}

/// What one replica has spent and reserved: calls and amount of the day, then of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub day: i64,
    pub month: i64,
    pub used: [u64; 4],
}

/// What the other replicas have, in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Others(pub [u64; 4]);

/// The answer to a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    Yes(Others),
    /// The number of the limit that it would exceed, from 0.
    Full(usize, Others),
    /// Redis has lost what others have spent, and they have not said it again yet.
    Incomplete,
}

/// Whose turn it is to reserve for one owner.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// The versions of totals, and whose turn it is to reserve.
#[derive(Debug)]
pub(super) struct Book {
    version: AtomicU64,
    pub(super) turns: Mutex<HashMap<(Owner, Arc<str>), Turn>>,
}

impl Owner {
    pub(super) const fn letter(self) -> &'static str {
        match self {
            Self::Client => "b:c",
            Self::Provider => "b:p",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Provider => "provider",
        }
    }
}

impl Book {
    /// `started` grows from start to start, so that a restart corrects what it had written before.
    pub(super) fn new(started: u64) -> Self {
        Self { version: AtomicU64::new(started), turns: Mutex::default() }
    }

    pub(super) fn next(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Relaxed)
    }
}
