//! How a flight ended, and what each of its waiters is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::chain::Progress;
use super::enumeration::Kind;
use super::failure;
use super::landing::Landing;
use super::question::{Answer, Attempt, Failure, FailureKind, Freshness, Question, Source};
use super::replicas::{Replicas, Turn, byte_of};
use super::unanswered::Ending;
use super::verdict_cache::{CacheSlot, VerdictCache};
use crate::domain::clock::Clock;
use crate::domain::money::Billed;
use crate::resilience::flight::Role;
use crate::storage::Remembered;
use crate::storage::ledger::Flight;
use crate::storage::shared::Told;

/// The result of a flight, shared by all its waiters.
#[derive(Debug)]
pub(super) struct FlightResult {
    pub(super) result: Result<FlightVerdict, (FailureKind, Option<Duration>)>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) flight: Flight,
    /// The client that paid for it.
    pub(super) client: Arc<str>,
    /// Whether this is how an earlier flight ended.
    pub(super) is_recalled: bool,
    /// Set if another replica made the call: whether it may be billed.
    pub(super) elsewhere: Option<bool>,
    /// What the other replicas are being told of it.
    pub(super) landing: Landing,
}

#[derive(Debug)]
pub(super) enum FlightVerdict {
    /// A provider answered.
    Answered(Remembered),
    /// Found in the cache, with its remaining lifetime, because another flight had just ended.
    Cached(Remembered, Duration),
}

impl FlightResult {
    /// A verdict that a provider has just given is always fresh enough.
    pub(super) fn is_fresh_enough(&self, freshness: Freshness, clock: &Clock) -> bool {
        match &self.result {
            Ok(FlightVerdict::Cached(remembered, _)) => freshness.accepts(remembered.age(clock.monotonic())),
            Ok(FlightVerdict::Answered(_)) => true,
            Err(_) => !(self.is_recalled && freshness.no_cache),
        }
    }

    /// Whether the result applies to `client`: an exhausted budget and a name too many are its own client's.
    pub(super) fn concerns(&self, client: &Arc<str>) -> bool {
        let is_its_own =
            matches!(self.result, Err((FailureKind::BudgetExhausted | FailureKind::EnumerationSuspected(_), _)));
        !is_its_own || self.client == *client
    }

    pub(super) fn without_a_call(
        question: &Question,
        result: Result<FlightVerdict, (FailureKind, Option<Duration>)>,
    ) -> Self {
        let client = Arc::clone(&question.client);
        Self {
            result,
            attempts: Vec::new(),
            flight: Flight::NONE,
            client,
            is_recalled: false,
            elsewhere: None,
            landing: Landing::default(),
        }
    }

    /// The ending of an earlier flight, which may yet be billed.
    pub(super) fn recalled(question: &Question, ending: &Ending) -> Self {
        let failed = Err((ending.kind, ending.retry_after(Instant::now())));
        let attempts = ending.attempts.clone();
        Self { attempts, is_recalled: true, ..Self::without_a_call(question, failed) }
    }

    /// What another replica knew, or how its call ended.
    pub(super) fn elsewhere(question: &Question, ended: Turn, cache_slot: &CacheSlot, progress: &Progress) -> Self {
        let (result, flight, may_be_billed) = match ended {
            Turn::Known(found, left) => {
                cache_slot.heard(&found);
                return Self::without_a_call(question, Ok(FlightVerdict::Cached(found, left)));
            }
            Turn::Answered(found, flight) => {
                cache_slot.heard(&found);
                (Ok(FlightVerdict::Answered(found)), flight, false)
            }
            Turn::Recalled { kind, left } => {
                let retry = failure::may_pass(kind).then_some(left);
                let recalled = Self::without_a_call(question, Err((kind, retry)));
                return Self { is_recalled: true, elsewhere: Some(true), ..recalled };
            }
            Turn::Failed { kind, retry, may_be_billed, flight } => (Err((kind, retry)), flight, may_be_billed),
            Turn::Refused(wait) => {
                let kind = FailureKind::EnumerationSuspected(Kind::NamesPerNumber);
                return Self::without_a_call(question, Err((kind, Some(wait))));
            }
            // A flight that leads does not come here.
            Turn::Lead(_) => return Self::without_a_call(question, Err((FailureKind::Internal, None))),
        };
        let flight = Flight::elsewhere(flight);
        progress.announced(flight.clone());
        Self { flight, elsewhere: Some(may_be_billed), ..Self::without_a_call(question, result) }
    }

    /// What the other replicas are told of it. `again` is the kind of failure that an early retry gets, and for how long.
    pub(super) fn told<'a>(
        &'a self,
        replicas: &Replicas,
        cache_slot: &CacheSlot,
        again: Option<(u8, Duration)>,
    ) -> Told<'a> {
        match &self.result {
            Ok(FlightVerdict::Answered(found) | FlightVerdict::Cached(found, _)) => {
                Told::Verdict(found, cache_slot.shared_life(found))
            }
            Err((kind, retry)) => Told::Failed {
                kind: byte_of(*kind),
                retry: retry.unwrap_or_default(),
                client: replicas.name_of(&self.client),
                may_be_billed: self.attempts.iter().any(|attempt| attempt.billed != Billed::No),
                again,
            },
        }
    }

    pub(super) fn answer_for(&self, role: Role, verdict_cache: &VerdictCache) -> Result<Answer, Failure> {
        // A flight that waits for another replica leads nothing.
        let leader = role == Role::Leader && self.elsewhere.is_none();
        match &self.result {
            Ok(FlightVerdict::Cached(remembered, left)) => {
                Ok(Answer::from_cache(remembered.clone(), *left, &verdict_cache.clock))
            }
            Ok(FlightVerdict::Answered(remembered)) => Ok(Answer {
                verdict: remembered.verdict,
                provider: Arc::clone(&remembered.provider),
                provider_request_id: remembered.request_id.clone(),
                verified_at: remembered.verified_at,
                source: if leader { Source::Provider } else { Source::Shared },
                // Only the leader reports the attempts, so that each billed call is counted once.
                attempts: if leader { self.attempts.clone() } else { Vec::new() },
                age: Duration::ZERO,
                left: None,
                by_replica: self.elsewhere.is_some(),
                flight: self.flight.clone(),
                landing: self.landing.clone(),
            }),
            Err((kind, retry_after)) => Err(Failure {
                kind: *kind,
                retry_after: *retry_after,
                attempts: self.attempts.clone(),
                is_billed_elsewhere: self.elsewhere.unwrap_or(false),
            }),
        }
    }
}

impl Answer {
    pub(super) fn from_cache(remembered: Remembered, left: Duration, clock: &Clock) -> Self {
        Self {
            age: remembered.age(clock.monotonic()),
            verdict: remembered.verdict,
            provider: remembered.provider,
            provider_request_id: remembered.request_id,
            verified_at: remembered.verified_at,
            source: Source::Cache,
            attempts: Vec::new(),
            left: Some(left),
            by_replica: false,
            flight: Flight::NONE,
            landing: Landing::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::verdict::Verdict;

    #[test]
    fn what_a_flight_found_in_memory_is_told_to_those_only_for_whom_it_is_fresh_enough() {
        let second = Duration::from_secs(1);
        let at = jiff::Timestamp::UNIX_EPOCH;
        let clock = Clock::fixed(at);
        let verified_at = clock.moment_of(at - 2 * second);
        let remembered =
            Remembered { verdict: Verdict::Match, provider: Arc::from("p"), request_id: None, verified_at };
        let cached = FlightResult {
            result: Ok(FlightVerdict::Cached(remembered.clone(), second)),
            attempts: Vec::new(),
            flight: Flight::NONE,
            client: Arc::default(),
            is_recalled: false,
            elsewhere: None,
            landing: Landing::default(),
        };
        let answered = FlightResult {
            result: Ok(FlightVerdict::Answered(remembered)),
            attempts: Vec::new(),
            flight: Flight::NONE,
            client: Arc::default(),
            is_recalled: false,
            elsewhere: None,
            landing: Landing::default(),
        };
        let any = Freshness::default();
        for (freshness, good) in [
            (any, true),
            (Freshness { max_age: Some(2 * second), ..any }, true),
            (Freshness { max_age: Some(second), ..any }, false),
            (Freshness { oldest: Some(second), ..any }, false),
            (Freshness { no_cache: true, ..any }, false),
        ] {
            assert_eq!(cached.is_fresh_enough(freshness, &clock), good, "{freshness:?}");
            assert!(answered.is_fresh_enough(freshness, &clock), "a call in flight is joined");
        }
    }
}
