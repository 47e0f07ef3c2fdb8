//! One endpoint's stack, as one plain function: what may refuse, then the timeout, then the exchange.
//!
//! The order, and why:
//! 1. **slot** (bulkhead of the provider): refuses at once; it goes with the call, not with the wait for it;
//! 2. **account** and **breaker**: before anything is used up for a call that they refuse;
//! 3. **hold** of the person at the provider: books the call;
//! 4. **money** of the client and the account: the most that the call can cost is reserved, and goes with the call;
//! 5. **rate** of the account, then the **budget** for extra attempts: last, so that what is taken is a call made;
//! 6. **announcement** in the ledger: whatever happens to this process, the call is known of afterwards;
//! 7. **attempt timeout**, inside the breaker's permit, so that slowness counts as failure;
//! 8. **exchange** with its own, longer limit: when the attempt has timed out the call runs on in a task of its own
//!    and its answer is harvested, because it is paid for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::account::Account;
use super::billing::{Payer, Reservation, UsedUp};
use super::exchange::Exchange;
use super::ledger_entries;
use super::metrics::EndpointMeter;
use super::question::{Attempt, FailureKind};
use super::verdict_cache::CacheSlot;
use crate::domain::outcome::{BreakerEffect, Fault, Outcome, Reason};
use crate::domain::subject::{Digest, Subject};
use crate::domain::verdict::Finding;
use crate::resilience::account::Admission;
use crate::resilience::breaker::{Breaker, Permit};
use crate::resilience::budget::Budget;
use crate::resilience::bulkhead::Slot;
use crate::storage::ledger::{Calling, Flight, NotWritten};

/// Where waiting is no remedy that anybody can put a time to, or a second call joins the first: soon.
pub(super) const COME_BACK: Duration = Duration::from_secs(1);

/// One endpoint with what guards it.
#[derive(Debug)]
pub(super) struct GuardedEndpoint {
    pub(super) endpoint: Arc<str>,
    pub(super) breaker: Breaker,
    meter: EndpointMeter,
    exchange: Arc<Exchange>,
    last_fault: Mutex<Option<LastFault>>,
}

/// The last fault that its breaker counted, for who asks why.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastFault {
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) at: Instant,
}

/// What a flight gives each of its attempts.
#[derive(Debug, Clone)]
pub(super) struct AttemptContext {
    /// Whom the call is about, for the wire.
    pub(super) subject: Arc<Subject>,
    /// The same for tables that must not know.
    pub(super) person: Digest,
    /// Hears of calls that outlived their attempt.
    pub(super) late: mpsc::UnboundedSender<Late>,
    /// Keeps a verdict that comes when the flight has ended.
    pub(super) cache_slot: CacheSlot,
    /// Owns the calls that outlive their attempt, so that shutdown waits for them.
    pub(super) tasks: TaskTracker,
    /// Where this attempt is taken from, if one before it may have been billed.
    pub(super) extra: Option<Arc<Budget>>,
    /// Writes each call down.
    pub(super) flight: Flight,
    /// Pays for each call.
    pub(super) payer: Payer,
}

/// The answer of a call that outlived its attempt.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) by: Arc<Account>,
    pub(super) result: Result<Finding, Fault>,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct AttemptResult {
    pub(super) attempt: Attempt,
    pub(super) finding: Option<Finding>,
    /// Whether the call runs on and will be heard of as [`Late`].
    pub(super) pending: bool,
}

/// No call was made, and none may be made elsewhere either: the client may spend no more, or nothing can be written down.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainAbort {
    /// What the question fails for.
    pub(super) kind: FailureKind,
    /// When it may go on again.
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

/// Why no call is made.
enum Refused {
    Here(Outcome, Option<Duration>),
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

    /// Tries to get an answer here, or says why no call was made.
    ///
    /// # Errors
    /// When no call may be made anywhere.
    pub(super) async fn attempt(
        &self,
        account: &Arc<Account>,
        context: &AttemptContext,
    ) -> Result<AttemptResult, ChainAbort> {
        let began = Instant::now();
        let Admitted { slot, trial, permit, reservation, calling } = match self.admit(account, context, began) {
            Ok(admitted) => admitted,
            Err(Refused::Here(outcome, retry_after)) => return Ok(self.skipped(account, outcome, retry_after)),
            Err(Refused::Everywhere(abort)) => return Err(abort),
        };
        let mut call = Box::pin(Arc::clone(&self.exchange).call(Arc::clone(&context.subject)));
        let in_time = tokio::time::timeout(account.attempt_timeout, &mut call).await;
        let now = Instant::now();
        let duration = now.duration_since(began);
        let pending = in_time.is_err();
        let result = in_time.unwrap_or(Err(Fault::new(Outcome::Timeout, Reason::Unspecified)));
        settle(permit, &result, now, duration);
        self.note(&result, now);
        if pending {
            let call = Call { answer: call, calling, reservation, began };
            self.harvest(call, slot, trial, Arc::clone(account), context);
        } else {
            conclude(trial, &result, now);
            calling.ended(|| ledger_entries::end(&account.prices, &result, duration, false));
            reservation.settle(&result, &context.cache_slot).await;
            self.meter.answered(account.prices, &result);
        }
        if result.as_ref().is_err_and(lacks_credential) {
            // Nothing was sent about anybody.
            account.holds.cancel_call(context.person);
        }
        let retry_after = if pending { None } else { learn(account, &result, &context.cache_slot, now) };
        let attempt = self.report(account, &result, duration, retry_after);
        self.meter.attempted(attempt.outcome, duration);
        Ok(AttemptResult { attempt, finding: result.ok(), pending })
    }

    /// The last fault that counted, if there was one.
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

    fn admit(&self, account: &Arc<Account>, context: &AttemptContext, now: Instant) -> Result<Admitted, Refused> {
        let here = |outcome, retry_after| Refused::Here(outcome, retry_after);
        let slot = account.bulkhead.try_enter().map_err(|_| here(Outcome::SkippedFull, None))?;
        account.look_for_keys(now);
        let trial = account.standing.try_enter(now);
        let trial = trial.map_err(|refused| here(Outcome::SkippedOpen, Some(refused.retry_after)))?;
        let permit =
            self.breaker.try_acquire(now).map_err(|refused| here(Outcome::SkippedOpen, refused.retry_after))?;
        account.holds.record_call(context.person, now).map_err(|left| here(Outcome::SkippedHold, Some(left)))?;
        match pay(account, context, now).and_then(|reservation| self.announce(account, context, reservation)) {
            Ok((reservation, calling)) => Ok(Admitted { slot, trial, permit, reservation, calling }),
            Err(refused) => {
                account.holds.cancel_call(context.person);
                Err(refused)
            }
        }
    }

    fn announce(
        &self,
        account: &Account,
        context: &AttemptContext,
        reservation: Reservation,
    ) -> Result<(Reservation, Calling), Refused> {
        match context.flight.call(&account.name, &self.endpoint, account.prices.most().0) {
            Ok(calling) => Ok((reservation, calling)),
            Err(NotWritten) => {
                reservation.give_back();
                let kind = FailureKind::LedgerUnavailable;
                Err(Refused::Everywhere(ChainAbort { kind, retry_after: COME_BACK }))
            }
        }
    }

    /// Lets `call` run on to its own limit, and hands its answer to the flight, or keeps it if that has ended.
    /// The slot and the account's trial go with it: both are about the call, not about who waits for it.
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
        context.tasks.spawn(async move {
            let Call { answer, calling, reservation, began } = call;
            let result = answer.await;
            let now = Instant::now();
            drop(slot);
            calling.ended(|| ledger_entries::end(&by.prices, &result, now.duration_since(began), true));
            reservation.settle(&result, &cache_slot).await;
            conclude(trial, &result, now);
            learn(&by, &result, &cache_slot, now);
            meter.answered(by.prices, &result);
            if let Err(mpsc::error::SendError(Late { by, result: Ok(finding) })) = late.send(Late { by, result }) {
                cache_slot.late(&by.name, finding).await;
            }
        });
    }

    fn skipped(&self, account: &Account, outcome: Outcome, retry_after: Option<Duration>) -> AttemptResult {
        self.meter.attempted(outcome, Duration::ZERO);
        let attempt = Attempt::skipped(&account.name, &self.endpoint, outcome, retry_after);
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

/// Takes what a call uses up: money, then rate, then one of the extra attempts.
fn pay(account: &Arc<Account>, context: &AttemptContext, now: Instant) -> Result<Reservation, Refused> {
    let reservation = context.payer.reserve(account).map_err(|used_up| match used_up {
        UsedUp::Provider(left) => Refused::Here(Outcome::SkippedBudget, Some(left)),
        UsedUp::Client(retry_after) => {
            Refused::Everywhere(ChainAbort { kind: FailureKind::BudgetExhausted, retry_after })
        }
    })?;
    if let Err(wait) = account.limiter.try_take(now) {
        reservation.give_back();
        return Err(Refused::Here(Outcome::SkippedRate, Some(wait.0)));
    }
    if context.extra.as_ref().is_some_and(|budget| !budget.try_take(now)) {
        reservation.give_back();
        return Err(Refused::Here(Outcome::SkippedDeadline, None));
    }
    Ok(reservation)
}

/// Tells the account what the answer teaches it, and lets it forget the person again if that was asked meanwhile.
fn learn(account: &Account, result: &Result<Finding, Fault>, cache_slot: &CacheSlot, now: Instant) -> Option<Duration> {
    let person = cache_slot.work.person();
    let retry_after = account.learn(result, person, now);
    if cache_slot.work.is_forgotten() {
        account.holds.forget(person);
    }
    retry_after
}

/// Tells the breaker what the outcome table says.
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

/// Tells the account whether it is in order. Only an answer from beyond the account's door shows that it is.
fn conclude(trial: Admission<Reason>, result: &Result<Finding, Fault>, now: Instant) {
    match result {
        Ok(_) => trial.recovered(),
        Err(fault) => match fault.outcome {
            // Known before anything is sent, and over with the first fetch: no reason for an interval.
            _ if lacks_credential(fault) => drop(trial),
            Outcome::AccountFault => trial.fault(now, fault.reason, fault.retry_after),
            Outcome::InputRefused | Outcome::SubjectThrottled => trial.recovered(),
            _ => drop(trial),
        },
    }
}
