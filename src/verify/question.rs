//! Questions and their results: an answer or a failure, with the attempts that led to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::enumeration::Kind;
use super::joined_flight::JoinedFlight;
use super::landing::Landing;
use super::recall::Recall;
use crate::domain::clock::Moment;
use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::subject::Subject;
use crate::domain::verdict::{RequestId, Verdict};
use crate::storage::ledger::Flight;
use crate::storage::shared::Patience;

/// One caller's question, validated.
#[derive(Debug, Clone)]
pub struct Question {
    pub subject: Arc<Subject>,
    pub client: Arc<str>,
    /// Selects the policy.
    pub purpose: Arc<str>,
    pub freshness: Freshness,
    /// How long the caller waits. Work that it started continues after that.
    pub patience: Duration,
    /// How long all waits for the other replicas may take together. Never affects the answer's freshness or owner.
    pub for_replicas: Patience,
    /// For the ledger only.
    pub ticket: Ticket,
    /// For the trace of the request only.
    pub recall: Recall,
}

/// What the ledger records about a question, besides its answer. Never affects the answer.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The verification id.
    pub id: Uuid,
    /// The public id of the key or certificate that the client presented; empty if none was required.
    pub key_id: Arc<str>,
    /// The client's own reference.
    pub reference: Option<String>,
    /// The version of the configuration that answers it.
    pub configuration: Arc<str>,
    pub joined: JoinedFlight,
}

/// The freshness that the caller asks for (`Cache-Control`) and may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Ask a provider even if the verdict is cached. A call in flight is still joined.
    pub no_cache: bool,
    /// Accept a cached verdict up to this age.
    pub max_age: Option<Duration>,
    /// Answer from the cache or fail.
    pub only_if_cached: bool,
    /// The oldest verdict that this client may get, whatever it asks for.
    pub oldest: Option<Duration>,
}

impl Freshness {
    /// Whether the caller accepts a cached verdict of this age.
    pub fn accepts(self, age: Duration) -> bool {
        !self.no_cache && self.may_be_told(age) && self.max_age.is_none_or(|most| age <= most)
    }

    /// Whether the client may get a verdict of this age at all.
    pub fn may_be_told(self, age: Duration) -> bool {
        self.oldest.is_none_or(|oldest| age <= oldest)
    }

    /// The freshness for a retry of a request that first came in `waiting` ago: verdicts given since then count as
    /// fresh, so that the retry is not billed again.
    #[must_use]
    pub fn or_since(self, waiting: Duration) -> Self {
        let asked_for = if self.no_cache { Some(Duration::ZERO) } else { self.max_age };
        Self { no_cache: false, max_age: asked_for.map(|age| age.max(waiting)), ..self }
    }
}

/// Where a verdict came from, for this caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// This request led the flight that called the provider.
    Provider,
    /// This request joined a flight.
    Shared,
    Cache,
}

impl Source {
    /// The word used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A verdict for a caller, with its origin.
#[derive(Debug, Clone)]
pub struct Answer {
    pub verdict: Verdict,
    pub provider: Arc<str>,
    /// The provider's own id of the call.
    pub provider_request_id: Option<RequestId>,
    /// When the provider answered.
    pub verified_at: Moment,
    pub source: Source,
    /// The attempts made for this request; empty unless it led the flight.
    pub attempts: Vec<Attempt>,
    /// Time since the provider answered; zero unless the verdict was cached.
    pub age: Duration,
    /// The remaining lifetime in the cache, if the verdict was cached.
    pub left: Option<Duration>,
    /// Whether another replica made the call.
    pub by_replica: bool,
    /// For the ledger.
    pub flight: Flight,
    /// The other replicas have the verdict when this has ended; only then may the caller hear it.
    pub landing: Landing,
}

/// One attempt at one endpoint, or the reason why no call was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub provider: Arc<str>,
    /// Empty if the provider as a whole was skipped.
    pub endpoint: Arc<str>,
    pub outcome: Outcome,
    pub reason: Reason,
    /// The provider's documented code, if it gave one.
    pub code: Option<&'static str>,
    pub billed: Billed,
    pub duration: Duration,
    /// When it began, for the trace; `None` if it was skipped with its provider, or comes from the ledger.
    pub began: Option<Instant>,
    /// When a retry can help, if known.
    pub retry_after: Option<Duration>,
}

/// Why the caller gets no verdict.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: FailureKind,
    /// The earliest time at which a retry can help.
    pub retry_after: Option<Duration>,
    pub attempts: Vec<Attempt>,
    /// Whether another replica made a call for it that may be billed.
    pub is_billed_elsewhere: bool,
}

/// The kinds of failure. Each has its own problem code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No provider of the chain accepts this kind of document, or a name this long.
    UnsupportedDocument,
    /// Every provider that was asked rejected the input as invalid.
    RejectedByProvider,
    /// Every provider refuses this person for now, or the person is on hold there.
    SubjectThrottled,
    /// No provider could be asked: breakers open, slots full, rate or budget used up, account suspended, or isolated.
    NoProviderAvailable,
    /// The providers that were asked failed, and no call is pending.
    ProviderFailure,
    /// This process has as much work in progress as it takes on, or as this client's share allows.
    Overloaded,
    /// A call may be pending: there was no answer in time.
    OutcomeUnknown,
    /// `only-if-cached` was requested, and no fresh enough verdict is cached.
    NotCached,
    /// The enumeration guard refused the question.
    EnumerationSuspected(Kind),
    /// The client's budget for this period is used up.
    BudgetExhausted,
    /// The ledger cannot record paid calls now.
    LedgerUnavailable,
    /// A bug on our side.
    Internal,
}

impl Attempt {
    pub fn duration_ms(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// An attempt that made no call.
    pub(super) fn skipped(
        provider: &Arc<str>,
        endpoint: &Arc<str>,
        outcome: Outcome,
        retry_after: Option<Duration>,
    ) -> Self {
        Self {
            provider: Arc::clone(provider),
            endpoint: Arc::clone(endpoint),
            outcome,
            reason: Reason::Unspecified,
            code: None,
            billed: Billed::No,
            duration: Duration::ZERO,
            began: None,
            retry_after,
        }
    }
}

impl Failure {
    /// A failure without any attempt.
    pub const fn bare(kind: FailureKind) -> Self {
        Self { kind, retry_after: None, attempts: Vec::new(), is_billed_elsewhere: false }
    }

    /// Whether a call was begun, as far as is known.
    pub fn has_called(&self) -> bool {
        self.is_billed_elsewhere
            || matches!(self.kind, FailureKind::OutcomeUnknown | FailureKind::Internal)
            || self.attempts.iter().any(|attempt| !attempt.outcome.is_skip())
    }

    /// Whether money may have been spent, or may still be.
    pub fn may_have_been_billed(&self) -> bool {
        // While a call is pending, and after a bug, it is unknown how far the call got.
        self.is_billed_elsewhere
            || matches!(self.kind, FailureKind::OutcomeUnknown | FailureKind::Internal)
            || self.attempts.iter().any(|attempt| attempt.billed != Billed::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_may_be_billed_even_before_the_first_attempt_is_seen() {
        assert!(Failure::bare(FailureKind::OutcomeUnknown).may_have_been_billed());
        assert!(Failure::bare(FailureKind::Internal).may_have_been_billed());
        assert!(!Failure::bare(FailureKind::NotCached).may_have_been_billed());
        let skipped = Attempt::skipped(&Arc::default(), &Arc::default(), Outcome::SkippedOpen, None);
        let with = |billed| {
            let attempts = vec![skipped.clone(), Attempt { billed, ..skipped.clone() }];
            Failure { attempts, ..Failure::bare(FailureKind::ProviderFailure) }.may_have_been_billed()
        };
        assert_eq!(Billed::ALL.map(with), [true, false, true]);
    }

    #[test]
    fn freshness_is_the_callers_to_say() {
        let (hour, plain) = (Duration::from_secs(3600), Freshness::default());
        assert!(plain.accepts(hour));
        assert!(!Freshness { no_cache: true, ..plain }.accepts(Duration::ZERO));
        let at_most = Freshness { max_age: Some(hour), ..plain };
        assert!(at_most.accepts(hour) && !at_most.accepts(hour + Duration::from_millis(1)));
    }

    #[test]
    fn nothing_that_a_caller_says_gets_it_an_older_answer_than_it_may_have() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let capped = Freshness { oldest: Some(minute), ..Freshness::default() };
        for asked in [capped, Freshness { max_age: Some(hour), ..capped }, Freshness { no_cache: true, ..capped }] {
            assert!(!asked.accepts(minute * 2) && !asked.or_since(hour).accepts(minute * 2), "{asked:?}");
        }
        assert!(Freshness { no_cache: true, ..capped }.or_since(hour).accepts(minute), "a retry is not a second bill");
    }
}
