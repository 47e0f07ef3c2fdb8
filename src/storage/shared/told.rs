//! The lease of a call, and what is told at its end.

use std::time::Duration;

use super::place::Place;
use crate::storage::cache::Remembered;

/// The call for a place is this replica's, until the lease ends.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub(super) token: [u8; 24],
    /// By Redis' clock.
    pub(super) began_ms: i64,
    pub place: Place,
}

impl Lease {
    /// Whether Redis has said that it is ours. Otherwise its answer was lost.
    pub const fn is_granted(&self) -> bool {
        self.began_ms > 0
    }
}

/// What the other replicas are told at the end.
#[derive(Debug, Clone)]
pub enum Told<'a> {
    /// A verdict, and for how long it is remembered.
    Verdict(&'a Remembered, Duration),
    Failed {
        kind: u8,
        retry: Duration,
        client: [u8; 8],
        may_be_billed: bool,
        /// If it may yet be billed: the kind of failure that a retry gets, and for how long.
        again: Option<(u8, Duration)>,
    },
}
