//! What the steps of the pipeline need.

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::DigestKey;
use crate::server::snapshot::Current;
use crate::storage::ledger::{self, Ledger};
use crate::storage::shared::Shared;
use crate::verify;

/// What every edge needs that asks or looks up.
#[derive(Debug)]
pub struct Pipeline {
    /// The configuration at work.
    pub current: Current,
    /// Digests of persons, keys and bodies.
    pub digest_key: DigestKey,
    /// Look-ups that may be worked on at once. Questions have places of their own, in `verify`.
    pub lookups: Semaphore,
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
    /// Calls avoided.
    pub verify_metrics: verify::Metrics,
    /// Wall-clock time.
    pub clock: Clock,
    /// Verification ids.
    pub ids: Ids,
    /// Where answers are written down, and looked up.
    pub ledger: Ledger,
    /// What the replicas share.
    pub shared: Shared,
    /// Cancelled when waiting has to end, because the process goes down.
    pub last_call: CancellationToken,
}

impl Pipeline {
    /// A person as the ledger knows them.
    pub(in crate::server) fn in_ledger(&self, person: &crate::domain::subject::Digest) -> ledger::Subject {
        ledger::Subject::new(&self.digest_key, person)
    }
}
