//! What is asked of us, and what we say: a question, an answer or a failure, and the attempts between them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::enumeration::Kind;
use super::joined_flight::JoinedFlight;
use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::subject::Subject;
use crate::domain::verdict::{RequestId, Verdict};
use crate::storage::ledger::Flight;

/// One caller's question, validated.
#[derive(Debug, Clone)]
pub struct Question {
    pub subject: Arc<Subject>,
    /// The client that asks.
    pub client: Arc<str>,
    /// What it asks for; selects the policy.
    pub purpose: Arc<str>,
    /// How fresh the answer must be.
    pub freshness: Freshness,
    /// How long the caller waits. The work goes on when it is over.
    pub patience: Duration,
    /// What only the ledger wants to know of it.
    pub ticket: Ticket,
}

/// What a question is known by afterwards. Never changes its answer.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Its verification id.
    pub id: Uuid,
    /// The public id of the key or certificate that its client showed; empty if none was needed.
    pub key_id: Arc<str>,
    /// The client's own reference.
    pub reference: Option<String>,
    /// The configuration that it is answered under.
    pub configuration: Arc<str>,
    pub joined: JoinedFlight,
}

/// The caller's `Cache-Control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Ask again even if the verdict is remembered. A call in flight is still joined.
    pub no_cache: bool,
    /// Take a remembered verdict no older than this.
    pub max_age: Option<Duration>,
    /// Answer from memory or not at all.
    pub only_if_cached: bool,
    /// This caller is never told anything older, whatever it asks for.
    pub oldest: Option<Duration>,
}

impl Freshness {
    /// Whether a verdict of this age will do.
    pub fn accepts(self, age: Duration) -> bool {
        !self.no_cache && self.may_be_told(age) && self.max_age.is_none_or(|most| age <= most)
    }

    /// Whether a verdict of this age may be told at all.
    pub fn may_be_told(self, age: Duration) -> bool {
        self.oldest.is_none_or(|oldest| age <= oldest)
    }

    /// The same for somebody who has been asking for `waiting` already: what was said since then is fresh as well.
    #[must_use]
    pub fn or_since(self, waiting: Duration) -> Self {
        let asked_for = if self.no_cache { Some(Duration::ZERO) } else { self.max_age };
        Self { no_cache: false, max_age: asked_for.map(|age| age.max(waiting)), ..self }
    }
}

/// How a verdict came to this caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// This request led the call.
    Provider,
    /// It joined a call in flight.
    Shared,
    /// It was remembered.
    Cache,
}

impl Source {
    /// The word used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A verdict for a caller, with where it came from.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The provider that gave it.
    pub provider: Arc<str>,
    /// The provider's reference.
    pub provider_request_id: Option<RequestId>,
    /// When the provider answered.
    pub verified_at: Timestamp,
    /// How it came to this caller.
    pub source: Source,
    /// The attempts made for this very request: none unless it led the call.
    pub attempts: Vec<Attempt>,
    /// How long ago the provider answered; zero unless remembered.
    pub age: Duration,
    /// For how much longer it is remembered, if it was.
    pub left: Option<Duration>,
    /// The flight that it came from, for the ledger.
    pub flight: Flight,
}

/// One try at one endpoint, or the reason why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The provider.
    pub provider: Arc<str>,
    /// Its endpoint; empty where the provider as a whole was skipped.
    pub endpoint: Arc<str>,
    /// What it came to.
    pub outcome: Outcome,
    /// The finer cause.
    pub reason: Reason,
    /// The documented code that said so.
    pub code: Option<&'static str>,
    /// Whether it was paid for.
    pub billed: Billed,
    /// How long it took.
    pub duration: Duration,
    /// When another try can help, as far as it is known.
    pub retry_after: Option<Duration>,
}

/// Why there is no verdict for the caller.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The earliest time that helps.
    pub retry_after: Option<Duration>,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// The kinds of failure, each with a problem code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No provider of the chain takes this kind of document, or a name this long.
    UnsupportedDocument,
    /// Every provider asked called the input invalid.
    RejectedByProvider,
    /// Every provider refuses this person for now.
    SubjectThrottled,
    /// Nothing could be asked: all open, full, paused or set aside.
    NoProviderAvailable,
    /// All failed, and nothing is pending.
    ProviderFailure,
    /// A call was sent and no answer came in time.
    OutcomeUnknown,
    /// Only memory was to be asked, and it knows nothing.
    NotCached,
    /// It looks like trying out names or numbers.
    EnumerationSuspected(Kind),
    /// The client may spend no more in this period.
    BudgetExhausted,
    /// What costs money cannot be written down now.
    LedgerUnavailable,
    /// A defect of ours.
    Internal,
}

impl Attempt {
    /// How long it took, in milliseconds.
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
            retry_after,
        }
    }
}

impl Failure {
    /// A failure before anything was tried.
    pub const fn bare(kind: FailureKind) -> Self {
        Self { kind, retry_after: None, attempts: Vec::new() }
    }

    /// Whether money may have been spent, or still may be.
    pub fn may_have_been_billed(&self) -> bool {
        // While a call goes on, and after a defect, nobody knows how far it has come.
        matches!(self.kind, FailureKind::OutcomeUnknown | FailureKind::Internal)
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
