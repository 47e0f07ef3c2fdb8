//! Finds out in the ledger whose an idempotency key is, and claims the key if it is nobody's.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;

use super::keys::{Lookup, Owner, is_over, not_before};
use crate::domain::clock::{Clock, Monotonic};
use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::subject::Digest;
use crate::domain::verdict::{RequestId, Verdict};
use crate::server::pipeline::Verified;
use crate::storage::ledger::{self, Claimed, Ledger, NotClaimed, ReadError};
use crate::verify::{Attempt, Source};

/// What a request claims its key for.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Keyed {
    /// Of the client and its key.
    pub(in crate::server) key: Digest,
    pub(in crate::server) body: Digest,
    pub(in crate::server) person: Digest,
}

/// Looks a key up in the ledger, for all requests that came with it.
pub(in crate::server) struct LedgerLookup {
    pub(in crate::server) ledger: Ledger,
    pub(in crate::server) clock: Clock,
    pub(in crate::server) client: Arc<str>,
    pub(in crate::server) subject: ledger::Subject,
    pub(in crate::server) keyed: Keyed,
}

enum Found {
    /// Nobody had the key; it is claimed now.
    Free(Owner),
    /// It has an owner, and an answer if it is finished.
    Owned(Owner, Option<Box<Verified>>),
    /// Another replica is answering it.
    Elsewhere(Owner),
}

/// How often it is looked whether another replica has answered: at first, and later.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// How often a key is looked up that other replicas claim at the same moment.
const MOST_RACES: u32 = 3;

impl Keyed {
    /// The owner that these digests make, with its claim in the ledger.
    pub(in crate::server) fn owner(&self, since: Monotonic, claim: Option<uuid::Uuid>) -> Owner {
        Owner { body: self.body, person: self.person, since, claim, term: 0 }
    }
}

impl LedgerLookup {
    /// Settles `lookup`. Run it in a task of its own: then a key is claimed once, also if its caller leaves.
    pub(in crate::server) async fn run(self, mut lookup: Lookup) {
        let mut pause = LOOK_FIRST;
        loop {
            let erasures = lookup.erasures();
            // Dropped unsettled, the lookup fails for everybody who waits for it, and the next request tries again.
            let Some(found) = self.find(&lookup).await else { return };
            let settled = match found {
                Found::Elsewhere(owner) => {
                    if !lookup.is_held_elsewhere(owner) {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LOOK_LAST);
                    lookup.starts_over = false;
                    continue;
                }
                Found::Free(owner) => lookup.claimed(owner, erasures),
                Found::Owned(owner, answer) => lookup.found(owner, answer.map(|answer| *answer), erasures),
            };
            match settled {
                Ok(()) => return,
                Err(again) => lookup = again,
            }
            lookup.starts_over = false;
        }
    }

    /// Whose the key is; nothing if that cannot be read, or the key cannot be claimed.
    async fn find(&self, lookup: &Lookup) -> Option<Found> {
        let mut starts_over = lookup.starts_over;
        for _ in 0..MOST_RACES {
            if !starts_over && let Some(known) = self.known().await? {
                return self.owned(known);
            }
            let replaced = lookup.replaces.filter(|_| starts_over);
            let claim = self.ledger.claim(not_before(&self.clock), replaced, |id, at_ms| ledger::Claim {
                id,
                at_ms,
                client: self.client.to_string(),
                outcome: "claimed".to_owned(),
                key: self.keyed.key.to_hex(),
                body: self.keyed.body.to_hex(),
                subject: self.subject.clone(),
            });
            match claim.await {
                Ok(claim) => {
                    let claim = claim?;
                    return Some(Found::Free(self.keyed.owner(self.since(claim.at_ms), Some(claim.id))));
                }
                // Whose is it then?
                Err(NotClaimed::Taken) => starts_over = false,
                Err(NotClaimed::NotWritten) => return None,
            }
        }
        None
    }

    /// The claim that the ledger knows; nothing if that cannot be read.
    async fn known(&self) -> Option<Option<Claimed>> {
        let known = self.ledger.claimed(&self.keyed.key, not_before(&self.clock)).await;
        // The caller is only asked to come back; the cause is here.
        let known = known.inspect_err(|error| {
            // That PostgreSQL is away is said once.
            if !matches!(error, ReadError::Away) {
                tracing::error!(%error, "ledger: a key cannot be looked up");
            }
        });
        let known = known.ok()?;
        // The ledger goes by the date, memory by the time that has passed.
        Some(known.filter(|known| !is_over(self.since(known.claim.at_ms), self.clock.monotonic())))
    }

    fn owned(&self, Claimed { claim, answer, is_elsewhere, term }: Claimed) -> Option<Found> {
        let (body, person) = (Digest::from_hex(&claim.body)?, Digest::from_hex(&claim.subject.digest)?);
        let owner = Owner { body, person, since: self.since(claim.at_ms), claim: Some(claim.id), term };
        if is_elsewhere {
            return Some(Found::Elsewhere(owner));
        }
        Some(Found::Owned(owner, answer.and_then(|answer| verified(answer, &self.clock)).map(Box::new)))
    }
}

impl LedgerLookup {
    fn since(&self, at_ms: i64) -> Monotonic {
        let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        self.clock.moment_of(at).monotonic
    }
}

/// An entry of the ledger as the answer that it was; nothing if it is not one, or was written by a later version.
fn verified(answer: ledger::Answer, clock: &Clock) -> Option<Verified> {
    Some(Verified {
        id: answer.id,
        verdict: Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == answer.outcome)?,
        provider: Arc::from(answer.provider.unwrap_or_default()),
        provider_request_id: answer.provider_request_id.as_deref().and_then(RequestId::parse),
        verified_at: clock.moment_of(Timestamp::from_millisecond(answer.verified_at_ms?).ok()?),
        source: Source::VARIANTS.iter().copied().find(|source| Some(source.as_str()) == answer.source.as_deref())?,
        attempts: answer.attempts.iter().map(attempt).collect::<Option<_>>()?,
    })
}

fn attempt(attempt: &ledger::Attempt) -> Option<Attempt> {
    let reason = match &attempt.reason {
        Some(word) => Reason::VARIANTS.iter().copied().find(|reason| reason.as_str() == word)?,
        None => Reason::Unspecified,
    };
    Some(Attempt {
        provider: Arc::from(&*attempt.provider),
        endpoint: Arc::from(&*attempt.endpoint),
        outcome: Outcome::ALL.iter().copied().find(|outcome| outcome.as_str() == attempt.outcome)?,
        reason,
        code: None,
        billed: Billed::ALL.into_iter().find(|billed| billed.as_str() == attempt.billed)?,
        duration: Duration::from_millis(attempt.duration_ms),
        began: None,
        retry_after: None,
    })
}
