//! Answers from the cache, joins a flight, or starts one, so that concurrent equal questions are billed once.
//!
//! Invariants: a flight runs within its own limits. The caller that started it drives it, and a task of its own once
//! that caller has left, so it ends even if every caller disconnects. Its verdict is cached before its waiters get it
//! and before the flight is removed. Only verdicts are cached. A new flight checks the cache again, because another
//! flight may have ended after the caller's check. A cached verdict needs no place; a flight has one until it ends, and
//! so has every caller that has joined it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use super::billing::{Billing, Payer};
use super::chain::{Chain, ChainResult, Policy, Progress};
use super::endpoint::COME_BACK;
use super::endpoint::{AttemptContext, Late};
use super::erasure::Traces;
use super::flight_result::{FlightResult, FlightVerdict};
use super::landing::Landing;
use super::ledger_entries;
use super::places::{NoPlace, Parties, Place, Places};
use super::policy::OnNoRecord;
use super::question::{Answer, Failure, FailureKind, Question};
use super::replicas::{Asked, Lead, Replicas, Trial, Turn, byte_of};
use super::unanswered::{Ending, Unanswered};
use super::verdict_cache::{CacheSlot, VerdictCache};
use super::warmer::Warmer;
use crate::domain::subject::{Digest, DigestKey};
use crate::resilience;
use crate::resilience::attended::Attended;
use crate::resilience::budget::Budget;
use crate::resilience::flight::{Flights, Role};
use crate::resilience::party::Party;
use crate::storage::ledger::{self, Flight, Ledger, ReadError};
use crate::storage::shared::Patience;
use crate::storage::{self, Remembered, Sharing};

/// A flight as its waiters see it.
type Joinable = resilience::flight::Flight<Arc<Progress>, Arc<FlightResult>>;

/// A flight as the caller that started it sees it. Shutdown waits for it in either case.
type OwnFlight = Attended<TrackedFuture<BoxFuture<'static, ()>>>;

/// The verdict cache and the flights.
#[derive(Debug)]
pub(super) struct CachedLookup {
    pub(super) flights: Flights<storage::CacheKey, Arc<Progress>, Arc<FlightResult>>,
    pub(super) verdict_cache: Arc<VerdictCache>,
    pub(super) unanswered: Arc<Unanswered>,
    pub(super) digest_key: DigestKey,
    pub(super) sharing: Sharing,
    pub(super) budget: Arc<Budget>,
    pub(super) tasks: TaskTracker,
    pub(super) traces: Arc<Traces>,
    pub(super) ledger: Ledger,
    pub(super) billing: Arc<Billing>,
    pub(super) places: Arc<Places>,
    pub(super) parties: Parties,
    pub(super) warmer: Arc<Warmer>,
    pub(super) replicas: Replicas,
}

impl CachedLookup {
    /// A flight that `question` leads hears whether `trial` is granted, and calls only then.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: &Question,
        policy: &Arc<Policy>,
        trial: Option<&Arc<Trial>>,
    ) -> Result<Answer, Failure> {
        let key = self.key_of(question, policy);
        let deadline = Instant::now() + question.patience;
        let party = self.parties.of(&question.client, policy.priority);
        loop {
            if let Some((remembered, left)) = self.verdict_cache.get(&key, question) {
                return Ok(Answer::from_cache(remembered, left, &self.verdict_cache.clock));
            }
            if question.freshness.only_if_cached {
                if self.warmer.look_up(key.person).await {
                    continue;
                }
                if self.replicas.is_on() {
                    let asked = self.asked(question, policy, key.person);
                    // Boxed, so that a request is no larger where nothing is shared.
                    if let Some((found, left)) = Box::pin(self.replicas.look(asked)).await {
                        return Ok(Answer::from_cache(found, left, &self.verdict_cache.clock));
                    }
                }
                return Err(Failure::bare(FailureKind::NotCached));
            }
            let mut own = None;
            let (role, flight) = self.board(key, question, policy, party, trial, &mut own)?;
            // Who only waits has a place of its own: it must not take one from those who could be answered.
            let _place = match role {
                Role::Leader => None,
                Role::Joined => Some(self.places.to_wait(party).map_err(overloaded)?),
            };
            question.ticket.joined.set(&flight.context().flight());
            question.recall.ended();
            let ended = async {
                if let Some(own) = own {
                    own.await;
                }
                flight.wait().await
            };
            match tokio::time::timeout_at(deadline, ended).await {
                // The cached verdict was fresh enough for the leader; this caller may want a fresher one.
                Ok(Ok(flight_result))
                    if !flight_result.is_fresh_enough(question.freshness, &self.verdict_cache.clock) => {}
                // The leader's budget is used up, which says nothing about this caller's.
                Ok(Ok(flight_result)) if role == Role::Joined && !flight_result.concerns(&question.client) => {}
                Ok(Ok(flight_result)) => return flight_result.answer_for(role, &self.verdict_cache),
                Ok(Err(_lost)) => return Err(Failure::bare(FailureKind::Internal)),
                Err(_impatient) => {
                    return Err(Failure {
                        kind: FailureKind::OutcomeUnknown,
                        retry_after: Some(COME_BACK),
                        attempts: flight.context().attempts_until(Instant::now()),
                        is_billed_elsewhere: false,
                    });
                }
            }
        }
    }

    /// Joins the flight of `key`, or starts it if there is a place for it. A flight that it starts is in `own`.
    fn board(
        self: &Arc<Self>,
        key: storage::CacheKey,
        question: &Question,
        policy: &Arc<Policy>,
        party: &Party,
        trial: Option<&Arc<Trial>>,
        own: &mut Option<OwnFlight>,
    ) -> Result<(Role, Joinable), Failure> {
        match self.places.to_call(party) {
            Ok(place) => Ok(self.flights.join_or_start(
                key,
                |work| *own = Some(Attended::new(self.tasks.track_future(work))),
                |progress| self.fly(key, question, policy, party, (place, trial.cloned()), progress),
            )),
            Err(none) => match self.flights.join(&key) {
                Some(flight) => Ok((Role::Joined, flight)),
                None => Err(overloaded(none)),
            },
        }
    }

    /// The newest verdict recorded since `since_ms` that answers `question`.
    ///
    /// # Errors
    /// If the ledger cannot be read in time.
    pub(super) async fn recorded(
        &self,
        question: &Question,
        policy: &Policy,
        since_ms: i64,
    ) -> Result<Option<Answer>, ReadError> {
        let key = self.key_of(question, policy);
        let found = self.warmer.recorded(key, since_ms).await?;
        let (cache, clock) = (&self.verdict_cache.cache, &self.verdict_cache.clock);
        let age = |found: &Remembered| found.age(clock.monotonic());
        let told = found.filter(|found| question.freshness.may_be_told(age(found)));
        Ok(told.map(|found| {
            let left = cache.lifetime(found.verdict).saturating_sub(age(&found));
            Answer::from_cache(found, left, clock)
        }))
    }

    /// Erases the cached verdicts about `person` for every client and purpose, and marks their flights so that they
    /// cache nothing. Returns the number of verdicts and of flights.
    pub(super) async fn forget(&self, person: Digest) -> (usize, usize) {
        // Mark first: a flight that still caches its verdict sees the mark and removes it.
        self.warmer.warming.forget(person);
        let under_way = self.traces.under_way.forget(person);
        let verdicts = self.verdict_cache.cache.forget_person(&person);
        self.unanswered.forget_person(&person).await;
        (verdicts, under_way)
    }

    fn asked<'a>(&'a self, question: &'a Question, policy: &'a Policy, person: Digest) -> Asked<'a> {
        let (cache, clock) = (&*self.verdict_cache.cache, &self.verdict_cache.clock);
        Asked { question, person, policy: &policy.key, cache, clock, may_lead: false, flight: None }
    }

    /// The future of a flight. It owns its data because it can outlive every caller.
    fn fly(
        self: &Arc<Self>,
        key: storage::CacheKey,
        question: &Question,
        policy: &Arc<Policy>,
        party: &Party,
        (place, trial): (Place, Option<Arc<Trial>>),
        progress: Arc<Progress>,
    ) -> impl Future<Output = Arc<FlightResult>> + Send + 'static + use<> {
        let cache_slot = CacheSlot::new(Arc::clone(&self.verdict_cache), key, self.traces.under_way.begin(key.person));
        let (this, question, policy) = (Arc::clone(self), question.clone(), Arc::clone(policy));
        let (late, mut late_answers) = mpsc::unbounded_channel();
        let mut patience = question.for_replicas.clone();
        let mut context = AttemptContext {
            person: key.person,
            subject: Arc::clone(&question.subject),
            party: party.clone(),
            late,
            cache_slot,
            tasks: self.tasks.clone(),
            extra: None,
            flight: Flight::NONE,
            payer: Payer::new(&self.billing, &question, policy.on_no_record == OnNoRecord::AskNext)
                .sharing(&self.replicas.shared),
            trickles: false,
            replicas: self.replicas.clone(),
            patience: Patience::NONE,
        };
        async move {
            // The flight's own, because it can outlive every caller.
            let _place = place;
            // What was paid for before a restart is not paid for again.
            this.warmer.look_up(key.person).await;
            if let Some((remembered, left)) = this.verdict_cache.get(&key, &question) {
                return Arc::new(FlightResult::without_a_call(&question, Ok(FlightVerdict::Cached(remembered, left))));
            }
            if !question.freshness.no_cache
                && let Some(ending) = this.unanswered.get(&key).await
            {
                return Arc::new(FlightResult::recalled(&question, &ending));
            }
            // No paid call starts unless the ledger can record it.
            let announced = this.ledger.begin(|flight, at_ms| {
                ledger_entries::begun(&question, ledger::Subject::new(&this.digest_key, &key.person))(flight, at_ms)
            });
            let (mut lead, began) = (Lead::nobody(), this.verdict_cache.clock.moment());
            if this.replicas.is_on() {
                let asked = Asked {
                    question: &question,
                    person: key.person,
                    policy: &policy.key,
                    cache: &this.verdict_cache.cache,
                    clock: &this.verdict_cache.clock,
                    may_lead: announced.is_ok(),
                    flight: announced.as_ref().ok().and_then(Flight::id),
                };
                // Boxed, so that the future is no larger where nothing is shared.
                match Box::pin(this.replicas.ask(asked, trial.as_deref(), &patience)).await {
                    Turn::Lead(leads) => lead = leads,
                    ended => {
                        return Arc::new(FlightResult::elsewhere(&question, ended, &context.cache_slot, &progress));
                    }
                }
                context.cache_slot.leads(lead.lease());
                patience = this.replicas.shared.patience_of_the_call(&patience);
                context.patience = patience.clone();
            }
            let Ok(flight) = announced else {
                let failed = Err((FailureKind::LedgerUnavailable, Some(COME_BACK)));
                let failed = FlightResult::without_a_call(&question, failed);
                lead.land(failed.told(&this.replicas, &context.cache_slot, None), &patience).await;
                return Arc::new(failed);
            };
            progress.announced(flight.clone());
            context.flight = flight.clone();
            let chain = Chain { policy: &policy, budget: &this.budget, meter: &this.verdict_cache.meter.chain };
            let found = chain.run(&mut context, &mut late_answers, &progress).await;
            let AttemptContext { cache_slot, .. } = context;
            let mut again = None;
            let result = match found {
                ChainResult::Found(by, finding) => {
                    let verdict = cache_slot.verdict(&by.name, finding);
                    // Where verdicts are not cached, the ending that `no-cache` passed over would hide this one.
                    if question.freshness.no_cache {
                        this.unanswered.forget(&key).await;
                    }
                    Ok(FlightVerdict::Answered(verdict))
                }
                ChainResult::Failed(kind, retry_after) => {
                    let attempts = progress.attempts_until(Instant::now());
                    let window = this.verdict_cache.cache.unknown_lifetime();
                    let ending = Ending::of(&attempts, policy.on_unknown, window);
                    let wait = ending.as_ref().and_then(|ending| ending.retry_after(Instant::now()));
                    if let Some(ending) = ending {
                        again = Some((byte_of(ending.kind), window));
                        this.unanswered.put(key, ending).await;
                        // Checked after the write, as for verdicts.
                        if cache_slot.work.is_forgotten() {
                            this.unanswered.forget(&key).await;
                        }
                    }
                    Err((kind, retry_after.max(wait)))
                }
            };
            // After the close, each late call caches its own verdict. Verdicts that arrived before it are cached here.
            late_answers.close();
            while let Ok(late) = late_answers.try_recv() {
                if let Late { by, result: Ok(finding), .. } = *late {
                    cache_slot.late(&by.name, finding);
                }
            }
            let attempts = progress.attempts_until(Instant::now());
            let mut result = FlightResult {
                result,
                attempts,
                flight,
                client: question.client,
                is_recalled: false,
                elsewhere: None,
                landing: Landing::default(),
            };
            if let Ok(FlightVerdict::Answered(verdict)) = &result.result
                && let Some(landing) =
                    lead.land_meanwhile((verdict, cache_slot.shared_life(verdict)), &patience, &this.tasks)
            {
                result.landing = landing;
            }
            let stays = lead.land(result.told(&this.replicas, &cache_slot, again), &patience).await;
            // Another replica has replaced this one meanwhile: all callers everywhere are told its verdict. One that is
            // older than the question is none that `no-cache` may get.
            if let Some(stays) = stays.filter(|stays| stays.verified_at.at >= began.at)
                && let Ok(FlightVerdict::Answered(verdict)) = &mut result.result
            {
                cache_slot.heard(&stays);
                *verdict = stays;
            }
            Arc::new(result)
        }
    }

    /// The cache key of a question: everything that can change its answer.
    ///
    /// The pattern lists every field, so a new field of [`Question`] must be included or excluded explicitly.
    fn key_of(&self, question: &Question, policy: &Policy) -> storage::CacheKey {
        let Question {
            subject,
            client,
            purpose: _selects_the_policy,
            freshness: _,
            patience: _,
            for_replicas: _,
            ticket: _,
            recall: _,
        } = question;
        let scope = match self.sharing {
            Sharing::Shared => policy.scope,
            Sharing::PerClient => self.traces.scopes.of(&policy.key, client),
        };
        storage::CacheKey { person: self.digest_key.person(subject), scope }
    }
}

fn overloaded(NoPlace: NoPlace) -> Failure {
    Failure { retry_after: Some(COME_BACK), ..Failure::bare(FailureKind::Overloaded) }
}
