//! Asks the primary provider, then the fallbacks, in a plain loop. [`Outcome::rule`] decides what follows an outcome.
//!
//! Invariants: a mismatch is final and ends the loop. No endpoint is asked twice. The first verdict wins, even one that
//! arrives late from a call whose attempt has timed out. While a call is pending, the loop does not end without a
//! verdict, so that a retry joins it. With `on_unknown = "stop"` nothing is asked after a call that may be billed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::account::Account;
use super::endpoint::{AttemptContext, AttemptResult, ChainAbort, GuardedEndpoint, Late};
use super::failure;
use super::joined_flight::AnnouncedFlight;
use super::metrics::ChainMeter;
use super::policy::{OnNoRecord, OnUnknown, Priority};
use super::provider::Provider;
use super::question::{Attempt, FailureKind};
use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Next, Outcome, Reason};
use crate::domain::verdict::{Finding, Verdict};
use crate::resilience::budget::Budget;
use crate::storage::Scope;
use crate::storage::ledger::Flight;

#[derive(Debug)]
pub(super) enum ChainResult {
    /// A verdict and the account that gave it.
    Found(Arc<Account>, Finding),
    /// No verdict: the reason, and when a retry can help.
    Failed(FailureKind, Option<Duration>),
}

/// The attempts of a run so far. Waiters can read them.
#[derive(Debug, Default)]
pub struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    attempts: Vec<Attempt>,
    /// Provider, endpoint and start time of the call in progress.
    current: Option<(Arc<str>, Arc<str>, Instant)>,
    flight: AnnouncedFlight,
}

/// The providers of one policy, in order, and its rules.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) order: Vec<Arc<Provider>>,
    pub(super) on_no_record: OnNoRecord,
    pub(super) on_unknown: OnUnknown,
    pub(super) budget: Duration,
    pub(super) priority: Priority,
    /// Policies with different keys share no verdicts. Empty for `[chain]` itself.
    pub(super) key: Arc<str>,
    /// The scope of its verdicts if clients share them.
    pub(super) scope: Scope,
}

/// The chain of one policy.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) policy: &'a Policy,
    pub(super) budget: &'a Arc<Budget>,
    pub(super) meter: &'a ChainMeter,
}

/// How the loop over one provider's endpoints ended.
enum ProviderResult {
    /// A verdict, possibly a late one from an earlier provider.
    Found(Arc<Account>, Finding),
    /// Continue with the next provider, because of this outcome.
    Next(Outcome),
    /// Ask no other provider.
    Stop,
}

/// Why a run stops waiting for an attempt.
enum Interruption {
    /// An earlier call has returned a verdict.
    Found(Arc<Account>, Finding),
    /// No call may be made.
    ChainAbort(ChainAbort),
}

struct Run<'a> {
    chain: &'a Chain<'a>,
    context: &'a mut AttemptContext,
    late: &'a mut mpsc::UnboundedReceiver<Box<Late>>,
    progress: &'a Progress,
    /// No attempt starts after this.
    last_start: Instant,
    /// The number of calls that outlived their attempt and have not ended.
    pending: usize,
    /// A `no_record` that the next provider should confirm. It is the answer if no provider can.
    unconfirmed: Option<(Arc<Account>, Finding)>,
    /// Set when something other than a provider ended the loop.
    abort: Option<ChainAbort>,
}

impl Chain<'_> {
    /// Asks providers until there is a verdict or none is left. The caller must cache the verdicts still in `late`.
    pub(super) async fn run(
        &self,
        context: &mut AttemptContext,
        late: &mut mpsc::UnboundedReceiver<Box<Late>>,
        progress: &Progress,
    ) -> ChainResult {
        let last_start = Instant::now() + self.policy.budget;
        let mut run =
            Run { chain: self, context, late, progress, last_start, pending: 0, unconfirmed: None, abort: None };
        run.providers().await
    }
}

impl Run<'_> {
    async fn providers(&mut self) -> ChainResult {
        let mut left: Option<(&Arc<Provider>, Outcome)> = None;
        for provider in &self.chain.policy.order {
            if let Some(outcome) = provider.account.unfit(&self.context.subject) {
                self.chain.meter.skipped(&provider.account.name, outcome);
                let plain = Attempt::skipped(&provider.account.name, &Arc::default(), outcome, None);
                let isolated = outcome == Outcome::SkippedOpen;
                let reason = if isolated { Reason::Isolated } else { plain.reason };
                self.progress.add(Attempt { reason, ..plain });
                continue;
            }
            if let Some((from, outcome)) = left {
                self.chain.meter.fallback(&from.account.name, &provider.account.name, outcome);
            }
            match self.endpoints(provider).await {
                ProviderResult::Found(by, finding) => return ChainResult::Found(by, finding),
                ProviderResult::Next(outcome) => left = Some((provider, outcome)),
                ProviderResult::Stop => break,
            }
        }
        if let Some((by, finding)) = self.trickle().await {
            return ChainResult::Found(by, finding);
        }
        if let Some((by, finding)) = self.unconfirmed.take() {
            return ChainResult::Found(by, finding);
        }
        while self.pending > 0 {
            let Some(late) = self.late.recv().await else { break };
            self.pending -= 1;
            match *late {
                Late { by, result: Ok(finding), .. } => return ChainResult::Found(by, finding),
                Late { by, endpoint, result: Err(fault) } => self.progress.ended_late(&by.name, &endpoint, &fault),
            }
        }
        let (kind, retry_after) = failure::of(&self.progress.attempts(), self.abort);
        ChainResult::Failed(kind, retry_after)
    }

    /// When nobody was asked because every breaker is open, asks the endpoint that fails least, if its breaker lets one
    /// more call trickle through. So service degrades with the providers instead of stopping.
    async fn trickle(&mut self) -> Option<(Arc<Account>, Finding)> {
        let kept_out =
            |attempt: &Attempt| matches!(attempt.outcome, Outcome::SkippedOpen | Outcome::SkippedUnsupported);
        let now = Instant::now();
        if self.abort.is_some() || now >= self.last_start || !self.progress.attempts().iter().all(kept_out) {
            return None;
        }
        let fit = |provider: &&Arc<Provider>| {
            let account = &provider.account;
            account.unfit(&self.context.subject).is_none() && account.standing.snapshot(now).is_none()
        };
        let endpoints = self.chain.policy.order.iter().filter(fit).flat_map(|provider| {
            let share = |guarded: &GuardedEndpoint| guarded.breaker.failed_share(now);
            provider.endpoints.iter().enumerate().filter_map(move |(at, one)| Some((share(one)?, provider, at)))
        });
        let (_, provider, index) = endpoints.min_by(|(one, ..), (other, ..)| one.total_cmp(other))?;
        let provider = Arc::clone(provider);
        self.context.trickles = true;
        match self.attempt(&provider, index).await {
            Ok(attempted) if attempted.attempt.outcome == Outcome::SkippedOpen => self.progress.stop(),
            Ok(attempted) => {
                self.pending += usize::from(attempted.pending);
                self.progress.add(attempted.attempt);
                return self.accept(&provider.account, attempted.finding?);
            }
            Err(Interruption::Found(by, finding)) => return Some((by, finding)),
            Err(Interruption::ChainAbort(abort)) => {
                self.progress.stop();
                self.abort = Some(abort);
            }
        }
        None
    }

    async fn endpoints(&mut self, provider: &Arc<Provider>) -> ProviderResult {
        let mut left = Outcome::SkippedOpen;
        let mut asked_again = false;
        for index in 0..provider.endpoints.len() {
            if Instant::now() >= self.last_start {
                self.chain.meter.skipped(&provider.account.name, Outcome::SkippedDeadline);
                self.progress.add(Attempt::skipped(
                    &provider.account.name,
                    &Arc::default(),
                    Outcome::SkippedDeadline,
                    None,
                ));
                return ProviderResult::Stop;
            }
            let attempted = match self.attempt(provider, index).await {
                Ok(attempted) => attempted,
                Err(Interruption::Found(by, finding)) => return ProviderResult::Found(by, finding),
                Err(Interruption::ChainAbort(abort)) => {
                    self.progress.stop();
                    self.abort = Some(abort);
                    return ProviderResult::Stop;
                }
            };
            self.pending += usize::from(attempted.pending);
            left = attempted.attempt.outcome;
            let may_be_billed = attempted.attempt.billed != Billed::No;
            self.progress.add(attempted.attempt);
            if let Some(finding) = attempted.finding {
                return match self.accept(&provider.account, finding) {
                    Some((by, finding)) => ProviderResult::Found(by, finding),
                    None => ProviderResult::Next(left),
                };
            }
            if may_be_billed && self.chain.policy.on_unknown == OnUnknown::Stop {
                return ProviderResult::Stop;
            }
            let go_on = match left.rule().next_endpoint {
                Next::Yes => true,
                Next::Once => !std::mem::replace(&mut asked_again, true),
                Next::No | Next::ByPolicy => false,
            };
            if !go_on {
                break;
            }
        }
        match left.rule().next_provider {
            Next::Yes | Next::Once | Next::ByPolicy => ProviderResult::Next(left),
            Next::No => ProviderResult::Stop,
        }
    }

    /// Makes one attempt, or returns the verdict of an earlier call if that arrives first.
    async fn attempt(&mut self, provider: &Arc<Provider>, index: usize) -> Result<AttemptResult, Interruption> {
        self.context.extra = self.progress.may_have_been_billed().then(|| Arc::clone(self.chain.budget));
        self.progress.begin(provider, index);
        if self.pending == 0 {
            return provider.attempt(index, self.context).await.map_err(Interruption::ChainAbort);
        }
        // Runs in its own task, because an earlier call's verdict ends this wait but must not cancel the call.
        let (done, mut attempted) = oneshot::channel();
        let (owner, context) = (Arc::clone(provider), self.context.clone());
        self.context.tasks.spawn(async move {
            let attempted = owner.attempt(index, &context).await;
            if let Err(Ok(AttemptResult { finding: Some(finding), .. })) = done.send(attempted) {
                context.cache_slot.late(&owner.account.name, finding);
            }
        });
        loop {
            tokio::select! {
                biased;
                attempted = &mut attempted => {
                    return attempted.unwrap_or_else(|_| Ok(provider.lost(index))).map_err(Interruption::ChainAbort);
                }
                Some(late) = self.late.recv() => {
                    let Late { by, endpoint, result } = *late;
                    self.pending -= 1;
                    match result.map(|finding| self.accept(&by, finding)) {
                        Ok(Some((by, finding))) => return Err(Interruption::Found(by, finding)),
                        Ok(None) => {}
                        Err(fault) => self.progress.ended_late(&by.name, &endpoint, &fault),
                    }
                }
            }
        }
    }

    /// Returns the verdict if it ends the run, or `None` if the next provider must confirm it. A match or a mismatch
    /// always ends the run.
    fn accept(&mut self, by: &Arc<Account>, finding: Finding) -> Option<(Arc<Account>, Finding)> {
        let found = (Arc::clone(by), finding);
        if found.1.verdict == Verdict::NoRecord && self.chain.policy.on_no_record == OnNoRecord::AskNext {
            self.unconfirmed.get_or_insert(found);
            return None;
        }
        Some(found)
    }
}

impl Progress {
    /// The attempts so far. A call in progress is reported as a timeout.
    pub fn attempts_until(&self, now: Instant) -> Vec<Attempt> {
        let state = self.lock();
        let mut attempts = state.attempts.clone();
        if let Some((provider, endpoint, began)) = &state.current {
            attempts.push(Attempt {
                billed: Billed::Unknown,
                duration: now.duration_since(*began),
                began: Some(*began),
                ..Attempt::skipped(provider, endpoint, Outcome::Timeout, None)
            });
        }
        attempts
    }

    /// Sets the flight once the ledger has recorded it.
    pub(super) fn announced(&self, flight: Flight) {
        self.lock().flight.set(flight);
    }

    pub(super) fn flight(&self) -> AnnouncedFlight {
        self.lock().flight.clone()
    }

    fn attempts(&self) -> Vec<Attempt> {
        self.lock().attempts.clone()
    }

    fn begin(&self, provider: &Provider, index: usize) {
        let place = (Arc::clone(&provider.account.name), provider.endpoint(index), Instant::now());
        self.lock().current = Some(place);
    }

    fn add(&self, attempt: Attempt) {
        let mut state = self.lock();
        state.current = None;
        state.attempts.push(attempt);
    }

    /// Replaces the timeout of a call that has now failed by what is known of it.
    fn ended_late(&self, provider: &str, endpoint: &str, fault: &Fault) {
        let mut state = self.lock();
        // No endpoint is asked twice, but one may have been skipped before it is.
        let mut timeouts = state.attempts.iter_mut().filter(|attempt| attempt.outcome == Outcome::Timeout);
        if let Some(attempt) = timeouts.find(|one| *one.provider == *provider && *one.endpoint == *endpoint) {
            let Fault { outcome, reason, code, billed, retry_after, .. } = *fault;
            *attempt = Attempt { outcome, reason, code, billed, retry_after, ..attempt.clone() };
        }
    }

    /// Discards the attempt in progress.
    fn stop(&self) {
        self.lock().current = None;
    }

    fn may_have_been_billed(&self) -> bool {
        self.lock().attempts.iter().any(|attempt| attempt.billed != Billed::No)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a single push or assignment, so a panic cannot leave the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_ends_late_without_a_verdict_is_no_longer_unknown() {
        let (provider, endpoint): (Arc<str>, Arc<str>) = (Arc::from("p"), Arc::from("e"));
        let progress = Progress::default();
        let attempt = |outcome: Outcome| Attempt {
            billed: outcome.rule().billed,
            ..Attempt::skipped(&provider, &endpoint, outcome, None)
        };
        progress.add(attempt(Outcome::SkippedOpen));
        progress.add(attempt(Outcome::Timeout));
        progress.ended_late("other", "e", &Fault::new(Outcome::InputRefused, Reason::Unspecified));
        assert!(progress.may_have_been_billed(), "another call");
        progress.ended_late("p", "e", &Fault::new(Outcome::Timeout, Reason::Unspecified));
        assert!(progress.may_have_been_billed(), "it was cut off");
        progress.ended_late("p", "e", &Fault::new(Outcome::InputRefused, Reason::Unspecified));
        let seen: Vec<_> = progress.attempts().iter().map(|attempt| (attempt.outcome, attempt.billed)).collect();
        assert_eq!(seen, [(Outcome::SkippedOpen, Billed::No), (Outcome::InputRefused, Billed::No)]);
        assert!(!progress.may_have_been_billed());
    }
}
