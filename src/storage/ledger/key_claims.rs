//! Claims on idempotency keys, and forgetting whom they are about. `claims` reads the entries about them.

use uuid::Uuid;

use super::claims::Claimed;
use super::entry::{Claim, Entry, Forgotten, Subject};
use super::error::{NotClaimed, NotWritten, ReadError};
use super::handle::Ledger;
use super::postgres::keys;
use super::queue::Flight;
use crate::domain::subject::Digest;

impl Ledger {
    /// The claim on `key`, if it was made at `not_before_ms` (milliseconds since 1970) or later and its person has not
    /// been forgotten since. `None` without a ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn claimed(&self, key: &Digest, not_before_ms: i64) -> Result<Option<Claimed>, ReadError> {
        match &self.0 {
            Some(open) => open.reader.claimed(&open.queue.shared.spooled, key, not_before_ms).await,
            None => Ok(None),
        }
    }

    /// Claims a key that was not claimed at `not_before_ms` (milliseconds since 1970) or later, or whose claim is to be
    /// `replaced`; returns once the claim is on the disk. `None` without a ledger.
    ///
    /// # Errors
    /// If it cannot be written, or another replica has claimed the key meanwhile.
    pub async fn claim(
        &self,
        not_before_ms: i64,
        replaced: Option<Uuid>,
        claim: impl FnOnce(Uuid, i64) -> Claim,
    ) -> Result<Option<Claim>, NotClaimed> {
        let Some(open) = &self.0 else { return Ok(None) };
        let claim = claim(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        if let Some(link) = &open.queue.shared.link {
            let claimed = keys::claim(link, &claim, not_before_ms, replaced).await;
            let is_ours = claimed.inspect_err(|error| error.tell("ledger: a key cannot be claimed"));
            if !is_ours.map_err(|_| NotClaimed::NotWritten)? {
                return Err(NotClaimed::Taken);
            }
        }
        let written = open.queue.write(Entry::Claim(claim.clone()), Flight::NONE).await;
        written.map_err(|NotWritten| NotClaimed::NotWritten)?;
        Ok(Some(claim))
    }

    /// Whether other replicas claim keys in the same record.
    pub fn is_shared(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.queue.shared.link.is_some())
    }

    /// Gives a claimed key back that no request holds any more, so that any replica may take it.
    pub async fn release(&self, claim: Uuid, term: i32) {
        if let Some(link) = self.0.as_ref().and_then(|open| open.queue.shared.link.as_ref()) {
            // If this fails, it is taken over once this replica is silent, or by this one.
            let released = keys::release(link, claim, term).await;
            let _ = released.inspect_err(|error| error.tell("ledger: a key cannot be given back"));
        }
    }

    /// How many keys were claimed for this person at `not_before_ms` (milliseconds since 1970) or later and since the
    /// person was last forgotten.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn claims_about(&self, subject: &Subject, not_before_ms: i64) -> Result<usize, ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await?.claims_about(subject, not_before_ms).await,
            None => Ok(0),
        }
    }

    /// Ends all claims about a person and returns once that is on the disk.
    ///
    /// # Errors
    /// If it cannot be written anywhere. The claims still hold then.
    pub async fn forget(&self, forgotten: impl FnOnce(Uuid, i64) -> Forgotten) -> Result<(), NotWritten> {
        let Some(open) = &self.0 else { return Ok(()) };
        let forgotten = forgotten(open.queue.ids.ordered(), open.queue.clock.now().as_millisecond());
        if let Some(link) = &open.queue.shared.link {
            let told = keys::forget(link, &forgotten.subject, forgotten.at_ms).await;
            told.inspect_err(|error| error.tell("ledger: the keys of a person cannot be ended"))
                .map_err(|_| NotWritten)?;
        }
        open.queue.write(Entry::Forgotten(forgotten), Flight::NONE).await
    }
}
