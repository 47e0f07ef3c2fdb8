//! One attempt at one endpoint, as one plain function: the checks that may refuse, the timeout, the exchange.
//!
//! The order, and why:
//! 1. **slot** (bulkhead of the provider): refuses at once; held until the call ends, even when no caller waits any
//!    more;
//! 2. **account** and **breaker**: before any budget or rate is used for a call that they refuse;
//! 3. **hold** of the person at the provider: counts the call;
//! 4. **budgets** of the client and the account: the maximum cost is reserved until the call ends;
//! 5. **rate** of the account, then the **budget** for extra attempts: last, because these are never given back;
//! 6. **announcement** in the ledger: the call is on record even if this process dies;
//! 7. **attempt timeout**, inside the breaker's permit, so that a slow call counts as a failure;
//! 8. **exchange** with its own, longer limit: after an attempt timeout the call continues in its own task, and its
//!    answer is used, because it may be billed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::account::Account;
use super::billing::{Payer, Reservation, UsedUp};
use super::exchange::Exchange;
use super::ledger_entries;
use super::metrics::{self, EndpointMeter};
use super::question::{Attempt, FailureKind};
use super::replicas::Replicas;
use super::verdict_cache::CacheSlot;
use crate::domain::outcome::{BreakerEffect, Fault, Outcome, Reason};
use crate::domain::subject::{Digest, Subject};
use crate::domain::verdict::Finding;
use crate::resilience::account::Admission;
use crate::resilience::breaker::{Breaker, Permit};
use crate::resilience::budget::Budget;
use crate::resilience::bulkhead::{Full, Slot};
use crate::resilience::limiter::Wait;
use crate::resilience::party::Party;
use crate::storage::ledger::{Calling, Flight, NotWritten};
use crate::storage::shared::{Patience, Refusal, Shared};

/// `Retry-After` when no better time is known, or when a retry would join the pending call.
pub(super) const COME_BACK: Duration = Duration::from_secs(1);

/// No answer came in time.
const TIMEOUT: Fault = Fault::new(Outcome::Timeout, Reason::Unspecified);

/// One endpoint with its breaker and meter.
#[derive(Debug)]
pub(super) struct GuardedEndpoint {
    pub(super) endpoint: Arc<str>,
    pub(super) breaker: Breaker,
    meter: EndpointMeter,
    exchange: Arc<Exchange>,
    last_fault: Mutex<Option<LastFault>>,
}

/// The last fault that the breaker counted, for the status page.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastFault {
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) at: Instant,
}

/// The data that every attempt of a flight needs.
#[derive(Debug, Clone)]
pub(super) struct AttemptContext {
    /// The person, in clear text, as sent to the provider.
    pub(super) subject: Arc<Subject>,
    /// The same person as a digest, for tables that must not hold personal data.
    pub(super) person: Digest,
    /// Whose share of the account's slots and rate is used.
    pub(super) party: Party,
    /// Receives the answers of calls that outlived their attempt. Boxed, because the channel allocates 32 places at a
    /// time.
    pub(super) late: mpsc::UnboundedSender<Box<Late>>,
    /// Caches a verdict that arrives after the flight has ended.
    pub(super) cache_slot: CacheSlot,
    /// Owns the calls that outlive their attempt, so that shutdown waits for them.
    pub(super) tasks: TaskTracker,
    /// Set if an earlier attempt may have been billed: this one then counts against the budget for extra attempts.
    pub(super) extra: Option<Arc<Budget>>,
    /// Records each call in the ledger.
    pub(super) flight: Flight,
    /// Reserves the cost of each call.
    pub(super) payer: Payer,
    /// Set if every breaker of the chain is open: this attempt is one of the few that pass nevertheless.
    pub(super) trickles: bool,
    /// Books each call with the other replicas.
    pub(super) replicas: Replicas,
    /// How long the question may still wait for them.
    pub(super) patience: Patience,
}

/// The answer of a call that outlived its attempt.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) by: Arc<Account>,
    pub(super) endpoint: Arc<str>,
    pub(super) result: Result<Finding, Fault>,
}

#[derive(Debug)]
pub(super) struct AttemptResult {
    pub(super) attempt: Attempt,
    pub(super) finding: Option<Finding>,
    /// Whether the call continues; its answer then arrives as [`Late`].
    pub(super) pending: bool,
}

/// No call may be made to any provider: the client's budget is used up, or the ledger cannot record calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainAbort {
    pub(super) kind: FailureKind,
    pub(super) retry_after: Duration,
}

/// A call that outlives its attempt.
struct Call<F> {
    answer: F,
    calling: Calling,
    reservation: Reservation,
    began: Instant,
}

struct Admitted {
    slot: Slot,
    trial: Admission<Reason>,
    permit: Permit,
    reservation: Reservation,
    calling: Calling,
}

enum Refused {
    Here(Outcome, Reason, Option<Duration>),
    Everywhere(ChainAbort),
}

impl GuardedEndpoint {
    pub(super) fn new(
        exchange: Exchange,
        breaker: Breaker,
        meter: EndpointMeter,
        last_fault: Option<LastFault>,
    ) -> Self {
        let endpoint = Arc::from(exchange.endpoint().authority());
        Self { endpoint, breaker, meter, exchange: Arc::new(exchange), last_fault: Mutex::new(last_fault) }
    }

    /// Makes one attempt, or reports why no call was made.
    ///
    /// # Errors
    /// No call may be made to any provider.
    pub(super) async fn attempt(
        &self,
        account: &Arc<Account>,
        context: &AttemptContext,
    ) -> Result<AttemptResult, ChainAbort> {
        let began = Instant::now();
        let Admitted { slot, trial, permit, reservation, calling } = match self.admit(account, context, began).await {
            Ok(admitted) => admitted,
            Err(Refused::Here(outcome, reason, retry_after)) => {
                // Where nothing more may trickle through, this skip is already counted.
                if !(context.trickles && outcome == Outcome::SkippedOpen) {
                    self.meter.attempted(outcome, Duration::ZERO);
                }
                return Ok(self.skipped(account, outcome, reason, retry_after, began));
            }
            Err(Refused::Everywhere(abort)) => return Err(abort),
        };
        let mut call = Box::pin(Arc::clone(&self.exchange).call(Arc::clone(&context.subject)));
        let limit = self.exchange.call_limit();
        let in_time = tokio::time::timeout(account.attempt_timeout.min(limit), &mut call).await;
        let now = Instant::now();
        let duration = now.duration_since(began);
        // A call whose own limit is no longer than the attempt's has ended with it.
        let pending = in_time.is_err() && account.attempt_timeout < limit;
        let result = in_time.unwrap_or(Err(TIMEOUT));
        settle(permit, &result, now, duration);
        self.note(&result, now);
        if pending {
            let rest = limit.saturating_sub(account.attempt_timeout);
            let answer = async move { tokio::time::timeout(rest, call).await.unwrap_or(Err(TIMEOUT)) };
            let call = Call { answer, calling, reservation, began };
            self.harvest(call, slot, trial, Arc::clone(account), context);
        } else {
            conclude(trial, &result, now);
            let cost = reservation.cost(&result);
            calling.ended(|| ledger_entries::end(cost, &result, duration, false));
            reservation.settle(cost, &result, &context.cache_slot);
            self.meter.answered(account.prices, &result);
        }
        if result.as_ref().is_err_and(|fault| lacks_credential(fault) || fault.outcome.is_skip()) {
            // Nothing was sent, so the call does not count for the person.
            account.holds.cancel_call(context.person);
            context.replicas.shared.unbook(context.person, &account.name);
        }
        let learnt = || learn(account, &result, &context.cache_slot, &context.replicas.shared, now);
        let retry_after = if pending { None } else { learnt() };
        let mut attempt = Attempt { began: Some(began), ..self.report(account, &result, duration, retry_after) };
        if context.trickles && !attempt.reason.is_specific() {
            attempt.reason = Reason::Trickle;
        }
        self.meter.attempted(attempt.outcome, duration);
        Ok(AttemptResult { attempt, finding: result.ok(), pending })
    }

    pub(super) fn last_fault(&self) -> Option<LastFault> {
        *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, result: &Result<Finding, Fault>, at: Instant) {
        if let Err(Fault { outcome, reason, .. }) = *result
            && outcome.rule().breaker == BreakerEffect::Failure
        {
            let fault = LastFault { outcome, reason, at };
            *self.last_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        }
    }

    async fn admit(&self, account: &Arc<Account>, context: &AttemptContext, now: Instant) -> Result<Admitted, Refused> {
        let here = |outcome, retry_after| Refused::Here(outcome, Reason::Unspecified, retry_after);
        let slot = account.bulkhead.try_enter(&context.party, now).map_err(|Full(share)| {
            account.meter.capacity.short_of(metrics::Shared::Slots, &context.party, share);
            here(Outcome::SkippedFull, None)
        })?;
        account.look_for_keys(now);
        let trial = account.standing.try_enter(now);
        let trial =
            trial.map_err(|refused| Refused::Here(Outcome::SkippedOpen, refused.reason, Some(refused.retry_after)))?;
        let acquired = match context.trickles {
            true => None,
            false => {
                let permit = self.breaker.try_acquire(now);
                Some(permit.map_err(|refused| here(Outcome::SkippedOpen, refused.retry_after))?)
            }
        };
        account.holds.record_call(context.person, now).map_err(|left| here(Outcome::SkippedHold, Some(left)))?;
        let announced = match pay(account, context, now).await {
            // What trickles comes after the client's share of the rate: otherwise whoever asks most would get all of it.
            Ok(reservation) => match acquired.or_else(|| self.breaker.try_trickle(now)) {
                Some(permit) => match book(account, context).await {
                    Ok(()) => {
                        let announced = self.announce(account, context, reservation).await;
                        let announced = announced.inspect_err(|_| {
                            context.replicas.shared.unbook(context.person, &account.name);
                        });
                        announced.map(|(reservation, calling)| (permit, reservation, calling))
                    }
                    Err(refused) => {
                        reservation.give_back();
                        Err(refused)
                    }
                },
                None => {
                    reservation.give_back();
                    Err(here(Outcome::SkippedOpen, None))
                }
            },
            Err(refused) => Err(refused),
        };
        match announced {
            Ok((permit, reservation, calling)) => Ok(Admitted { slot, trial, permit, reservation, calling }),
            Err(refused) => {
                account.holds.cancel_call(context.person);
                Err(refused)
            }
        }
    }

    async fn announce(
        &self,
        account: &Account,
        context: &AttemptContext,
        reservation: Reservation,
    ) -> Result<(Reservation, Calling), Refused> {
        match context.flight.call(&account.name, &self.endpoint, account.prices.most().0).await {
            Ok(calling) => Ok((reservation, calling)),
            Err(NotWritten) => {
                reservation.give_back();
                let kind = FailureKind::LedgerUnavailable;
                Err(Refused::Everywhere(ChainAbort { kind, retry_after: COME_BACK }))
            }
        }
    }

    /// Continues `call` in its own task and passes the answer to the flight, or caches it if the flight has ended.
    /// The slot and the account's trial are held until the call ends.
    fn harvest<F>(
        &self,
        call: Call<F>,
        slot: Slot,
        trial: Admission<Reason>,
        by: Arc<Account>,
        context: &AttemptContext,
    ) where
        F: Future<Output = Result<Finding, Fault>> + Send + 'static,
    {
        let (late, cache_slot, meter) = (context.late.clone(), context.cache_slot.clone(), self.meter.clone());
        let shared = context.replicas.shared.clone();
        let endpoint = Arc::clone(&self.endpoint);
        context.tasks.spawn(async move {
            let Call { answer, calling, reservation, began } = call;
            let result = answer.await;
            let now = Instant::now();
            drop(slot);
            let cost = reservation.cost(&result);
            calling.ended(|| ledger_entries::end(cost, &result, now.duration_since(began), true));
            reservation.settle(cost, &result, &cache_slot);
            conclude(trial, &result, now);
            learn(&by, &result, &cache_slot, &shared, now);
            meter.answered(by.prices, &result);
            if let Err(mpsc::error::SendError(late)) = late.send(Box::new(Late { by, endpoint, result }))
                && let Late { by, result: Ok(finding), .. } = *late
            {
                cache_slot.late(&by.name, finding);
            }
        });
    }

    fn skipped(
        &self,
        account: &Account,
        outcome: Outcome,
        reason: Reason,
        retry_after: Option<Duration>,
        began: Instant,
    ) -> AttemptResult {
        let plain = Attempt::skipped(&account.name, &self.endpoint, outcome, retry_after);
        let attempt = Attempt { reason, began: Some(began), ..plain };
        AttemptResult { attempt, finding: None, pending: false }
    }

    fn report(
        &self,
        account: &Account,
        result: &Result<Finding, Fault>,
        duration: Duration,
        retry_after: Option<Duration>,
    ) -> Attempt {
        let (outcome, reason, code, billed) = match result {
            Ok(finding) => (Outcome::Verdict, Reason::Unspecified, None, account.prices.billed(finding.verdict)),
            Err(fault) => (fault.outcome, fault.reason, fault.code, fault.billed),
        };
        let plain = Attempt::skipped(&account.name, &self.endpoint, outcome, retry_after);
        Attempt { reason, code, billed, duration, ..plain }
    }
}

/// Reserves the cost, then takes from the rate limit, then from the budget for extra attempts.
async fn pay(account: &Arc<Account>, context: &AttemptContext, now: Instant) -> Result<Reservation, Refused> {
    let reserved = context.payer.reserve_shared(account, &context.replicas.shared, &context.patience).await;
    let reservation = reserved.map_err(|used_up| match used_up {
        UsedUp::Provider(left) => Refused::Here(Outcome::SkippedBudget, Reason::Unspecified, Some(left)),
        UsedUp::Client(retry_after) => {
            Refused::Everywhere(ChainAbort { kind: FailureKind::BudgetExhausted, retry_after })
        }
        UsedUp::Unknown => {
            Refused::Everywhere(ChainAbort { kind: FailureKind::LedgerUnavailable, retry_after: COME_BACK })
        }
    })?;
    if let Err(Wait { wait, share }) = account.limiter.try_take(&context.party, now) {
        reservation.give_back();
        if let Some(share) = share {
            account.meter.capacity.short_of(metrics::Shared::Rate, &context.party, share);
        }
        return Err(Refused::Here(Outcome::SkippedRate, Reason::Unspecified, Some(wait)));
    }
    if context.extra.as_ref().is_some_and(|budget| !budget.try_take(now)) {
        reservation.give_back();
        return Err(Refused::Here(Outcome::SkippedBudget, Reason::Unspecified, None));
    }
    Ok(reservation)
}

/// Asks the other replicas, once everything here has agreed: a refusal of ours costs no round trip.
async fn book(account: &Arc<Account>, context: &AttemptContext) -> Result<(), Refused> {
    if !context.replicas.is_on() {
        return Ok(());
    }
    let booked = context.replicas.book(account, context.person, context.extra.is_some(), &context.patience).await;
    let here = |outcome, wait| Refused::Here(outcome, Reason::Unspecified, wait);
    booked.map_err(|refusal| match refusal {
        Refusal::Hold(wait) => here(Outcome::SkippedHold, Some(wait)),
        Refusal::Rate(wait) => here(Outcome::SkippedRate, Some(wait)),
        Refusal::Extra => here(Outcome::SkippedBudget, None),
    })
}

/// Updates the account from the result. Erases the person again if an erasure arrived in the meantime.
fn learn(
    account: &Account,
    result: &Result<Finding, Fault>,
    cache_slot: &CacheSlot,
    shared: &Shared,
    now: Instant,
) -> Option<Duration> {
    let person = cache_slot.work.person();
    let retry_after = account.learn(result, person, now);
    if cache_slot.work.is_forgotten() {
        account.holds.forget(person);
    } else if shared.is_on() {
        account.tell(result, person, retry_after, shared);
    }
    retry_after
}

/// Reports the result to the breaker according to the outcome table.
fn settle(permit: Permit, result: &Result<Finding, Fault>, now: Instant, latency: Duration) {
    let (outcome, hint) = match result {
        Ok(_) => (Outcome::Verdict, None),
        Err(fault) => (fault.outcome, fault.retry_after),
    };
    match outcome.rule().breaker {
        BreakerEffect::Success => permit.success(now, latency),
        BreakerEffect::Failure => permit.failure(now, hint),
        BreakerEffect::Neutral => permit.neutral(),
    }
}

fn lacks_credential(fault: &Fault) -> bool {
    fault.reason == Reason::NoCredential
}

/// Ends the account's trial. Only an answer given after the provider's account checks proves that the account works.
fn conclude(trial: Admission<Reason>, result: &Result<Finding, Fault>, now: Instant) {
    match result {
        Ok(_) => trial.recovered(),
        Err(fault) => match fault.outcome {
            // Nothing was sent, and the next successful fetch fixes it, so no suspension is needed.
            _ if lacks_credential(fault) => drop(trial),
            Outcome::AccountFault => trial.fault(now, fault.reason, fault.retry_after),
            Outcome::InputRefused | Outcome::SubjectThrottled => trial.recovered(),
            _ => drop(trial),
        },
    }
}
