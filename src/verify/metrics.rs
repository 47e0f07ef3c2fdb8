//! Counts every attempt and verdict. Metrics of HTTP requests are in `server`.
//!
//! Invariants: label values come from closed sets (configured names and our own constants). Error counters are created
//! at zero, so that an alert works before the first error. No metric holds personal data.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::enumeration::Kind;
use crate::domain::money::{Billed, Tariff};
use crate::domain::outcome::{Fault, Next, Outcome, Reason};
use crate::domain::verdict::{Finding, Verdict};
use crate::resilience::breaker::{Reason as BreakerReason, State, Transition};
use crate::resilience::party::{Party, Share};

/// In seconds. Providers answer in about 80 ms. Dense around the limits: `attempt_timeout` is 3 s, `call_limit` 15 s.
const BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 2.75, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 15.0];

/// Why a provider call was avoided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Avoided {
    Cache,
    /// A call in flight was joined.
    Shared,
    /// Our own rules rejected the input.
    InvalidInput,
    /// The person is on hold at the provider.
    Hold,
    /// The idempotency key already had an answer.
    Idempotent,
}

/// What clients share by weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Shared {
    /// Places of requests that are being read.
    Reading,
    /// Places of calls.
    Calls,
    /// Places of those who wait for another's call.
    Waiting,
    /// A provider's `max_concurrency`.
    Slots,
    /// A provider's `rate_limit`.
    Rate,
}

#[derive(Debug, Clone)]
pub struct Metrics {
    verdicts: IntCounterVec,
    attempts: IntCounterVec,
    attempt_duration: HistogramVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
    provider_available: IntGaugeVec,
    account_fault: IntGaugeVec,
    fallbacks: IntCounterVec,
    calls_avoided: IntCounterVec,
    billed_calls: IntCounterVec,
    in_flight: IntGaugeVec,
    subject_holds: IntGaugeVec,
    cache_entries: IntGauge,
    credential_generation: IntGaugeVec,
    enumeration_suspected: IntCounterVec,
    capacity_refusals: IntCounterVec,
    credential_refreshes: IntCounterVec,
    credential_expiry: IntGaugeVec,
}

/// Counts refusals for want of capacity.
#[derive(Debug, Clone)]
pub(super) struct CapacityMeter(IntCounterVec);

#[derive(Debug, Clone)]
pub(super) struct EndpointMeter {
    attempts: Arc<[IntCounter]>,
    duration: Histogram,
    billed: Arc<[IntCounter]>,
    held: IntCounter,
}

#[derive(Debug, Clone)]
pub(super) struct CredentialMeter {
    pub(super) successes: IntCounter,
    pub(super) failures: IntCounter,
    /// Unix time in seconds; 0 before the first fetch, and for a credential that does not expire.
    pub(super) expiry: IntGauge,
}

#[derive(Debug, Clone)]
pub(super) struct ProviderMeter {
    pub(super) available: IntGauge,
    pub(super) in_flight: IntGauge,
    pub(super) holds: IntGauge,
    pub(super) capacity: CapacityMeter,
    account_faults: Vec<(Reason, IntGauge)>,
}

#[derive(Debug, Clone)]
pub(super) struct ChainMeter {
    fallbacks: IntCounterVec,
    attempts: IntCounterVec,
}

#[derive(Debug, Clone)]
pub(super) struct LookupMeter {
    pub(super) chain: ChainMeter,
    verdicts: IntCounterVec,
}

impl Avoided {
    const ALL: &'static [Avoided] = <Self as strum::VariantArray>::VARIANTS;

    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Metrics {
    /// Creates and registers the metric families.
    ///
    /// # Errors
    /// `registry` already has them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let attempt_duration = HistogramVec::new(
            HistogramOpts::new("idgate_attempt_duration_seconds", "How long an attempt at an endpoint took.")
                .buckets(BUCKETS.to_vec()),
            &["provider", "endpoint"],
        )?;
        registry.register(Box::new(attempt_duration.clone()))?;
        let cache_entries = IntGauge::new("idgate_cache_entries", "Verdicts remembered now.")?;
        registry.register(Box::new(cache_entries.clone()))?;
        let metrics = Self {
            verdicts: counter("idgate_verdicts_total", "Verdicts that providers gave.", &["provider", "verdict"])?,
            attempts: counter(
                "idgate_attempts_total",
                "Attempts at an endpoint, and calls not made, by what they came to.",
                &["provider", "endpoint", "outcome"],
            )?,
            attempt_duration,
            breaker_state: gauge(
                "idgate_breaker_state",
                "0 closed (flowing), 1 half-open (probing), 2 open (refusing).",
                &["provider", "endpoint"],
            )?,
            breaker_transitions: counter(
                "idgate_breaker_transitions_total",
                "Changes of a breaker's state.",
                &["provider", "endpoint", "to", "reason"],
            )?,
            provider_available: gauge(
                "idgate_provider_available",
                "1 if the provider can be asked: not isolated, set aside or paused, and an endpoint not open.",
                &["provider"],
            )?,
            account_fault: gauge(
                "idgate_account_fault",
                "1 while the provider is set aside because of its account.",
                &["provider", "reason"],
            )?,
            fallbacks: counter(
                "idgate_fallbacks_total",
                "Questions that went on from one provider to the next.",
                &["from", "to", "reason"],
            )?,
            calls_avoided: counter("idgate_calls_avoided_total", "Provider calls that were not needed.", &["reason"])?,
            billed_calls: counter(
                "idgate_billed_calls_total",
                "Calls that reached a provider, by whether it bills them.",
                &["provider", "billed"],
            )?,
            in_flight: gauge("idgate_in_flight", "Calls in flight.", &["provider"])?,
            subject_holds: gauge("idgate_subject_holds", "Persons held off the provider now.", &["provider"])?,
            cache_entries,
            credential_generation: gauge(
                "idgate_credential_generation",
                "Counts up with each credential that comes into use.",
                &["provider"],
            )?,
            enumeration_suspected: counter(
                "idgate_enumeration_suspected_total",
                "Questions refused because they look like trying out names or numbers.",
                &["client", "kind"],
            )?,
            capacity_refusals: counter(
                "idgate_capacity_refusals_total",
                "Times that a client found no capacity left, by whether it had its share of it already.",
                &["client", "capacity", "share"],
            )?,
            credential_refreshes: counter(
                "idgate_credential_refreshes_total",
                "Fetches of a credential, of providers whose credentials are fetched.",
                &["provider", "result"],
            )?,
            credential_expiry: gauge(
                "idgate_credential_expiry_timestamp_seconds",
                "When the fetched credential in use ends; 0 before the first, and for one without an end.",
                &["provider"],
            )?,
        };
        Avoided::ALL.iter().for_each(|reason| drop(metrics.avoided_counter(*reason)));
        Ok(metrics)
    }

    /// Counts a call that was not needed.
    pub fn avoided(&self, reason: Avoided) {
        self.avoided_counter(reason).inc();
    }

    fn avoided_counter(&self, reason: Avoided) -> IntCounter {
        self.calls_avoided.with_label_values(&[reason.as_str()])
    }

    /// Creates the counters of a client at zero.
    pub(super) fn client(&self, client: &str) {
        for &kind in Kind::ALL {
            self.enumeration_suspected.with_label_values(&[client, kind.as_str()]);
        }
        for &shared in <Shared as strum::VariantArray>::VARIANTS {
            for share in Share::ALL {
                self.capacity_refusals.with_label_values(&[client, shared.into(), share.as_str()]);
            }
        }
    }

    pub(super) fn capacity(&self) -> CapacityMeter {
        CapacityMeter(self.capacity_refusals.clone())
    }

    pub(super) fn enumeration_suspected(&self, client: &str, kind: Kind) {
        self.enumeration_suspected.with_label_values(&[client, kind.as_str()]).inc();
    }

    pub(super) fn cache_entries(&self, entries: usize) {
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Removes the gauge of an endpoint that is no longer configured. Its counters stay.
    pub(super) fn endpoint_gone(&self, provider: &str, endpoint: &str) {
        // Fails only if there is nothing to remove.
        let _ = self.breaker_state.remove_label_values(&[provider, endpoint]);
    }

    /// Removes the gauges of a provider that is no longer configured. Its counters stay.
    pub(super) fn provider_gone(&self, provider: &str) {
        let gauges = [
            &self.provider_available,
            &self.in_flight,
            &self.subject_holds,
            &self.credential_generation,
            &self.credential_expiry,
        ];
        for gauge in gauges {
            let _ = gauge.remove_label_values(&[provider]);
        }
        for reason in Reason::ACCOUNT {
            let _ = self.account_fault.remove_label_values(&[provider, reason.as_str()]);
        }
    }

    pub(super) fn credential_generation(&self, provider: &str) -> IntGauge {
        self.credential_generation.with_label_values(&[provider])
    }

    pub(super) fn credential(&self, provider: &str) -> CredentialMeter {
        let refreshes = |result: &str| self.credential_refreshes.with_label_values(&[provider, result]);
        CredentialMeter {
            successes: refreshes("success"),
            failures: refreshes("failure"),
            expiry: self.credential_expiry.with_label_values(&[provider]),
        }
    }

    /// Removes the expiry gauge of a credential that is no longer fetched.
    pub(super) fn credential_given(&self, provider: &str) {
        // Fails only if there is nothing to remove.
        let _ = self.credential_expiry.remove_label_values(&[provider]);
    }

    pub(super) fn endpoint(&self, provider: &str, endpoint: &str) -> EndpointMeter {
        let attempts = |outcome: Outcome| self.attempts.with_label_values(&[provider, endpoint, outcome.as_str()]);
        let billed = |billed: Billed| self.billed_calls.with_label_values(&[provider, billed.as_str()]);
        EndpointMeter {
            attempts: Outcome::ALL.iter().copied().map(attempts).collect(),
            duration: self.attempt_duration.with_label_values(&[provider, endpoint]),
            billed: Billed::ALL.into_iter().map(billed).collect(),
            held: self.avoided_counter(Avoided::Hold),
        }
    }

    pub(super) fn provider(&self, provider: &str) -> ProviderMeter {
        let fault = |reason: Reason| (reason, self.account_fault.with_label_values(&[provider, reason.as_str()]));
        for verdict in Verdict::ALL {
            self.verdicts.with_label_values(&[provider, verdict.as_str()]);
        }
        // The chain can skip a whole provider, without an endpoint.
        for outcome in [Outcome::SkippedUnsupported, Outcome::SkippedOpen, Outcome::SkippedDeadline] {
            self.attempts.with_label_values(&[provider, "", outcome.as_str()]);
        }
        ProviderMeter {
            available: self.provider_available.with_label_values(&[provider]),
            in_flight: self.in_flight.with_label_values(&[provider]),
            holds: self.subject_holds.with_label_values(&[provider]),
            capacity: self.capacity(),
            account_faults: Reason::ACCOUNT.into_iter().map(fault).collect(),
        }
    }

    /// Returns the state gauge of a breaker and creates its transition counters at zero.
    pub(super) fn breaker(&self, provider: &str, endpoint: &str) -> IntGauge {
        for (to, reason) in BreakerReason::ALL {
            self.breaker_transitions.with_label_values(&[provider, endpoint, to.as_str(), reason.as_str()]);
        }
        self.breaker_state.with_label_values(&[provider, endpoint])
    }

    pub(super) fn transition(&self, provider: &str, endpoint: &str, transition: Transition) {
        let to = transition.to.as_str();
        let reason = transition.reason.as_str();
        self.breaker_transitions.with_label_values(&[provider, endpoint, to, reason]).inc();
        self.breaker(provider, endpoint).set(i64::from(transition.to.number()));
        let level_up = transition.to == State::Open;
        if level_up {
            tracing::warn!(provider, endpoint, to, reason, "breaker");
        } else {
            tracing::info!(provider, endpoint, to, reason, "breaker");
        }
    }

    /// Creates the fallback counters of these orders of providers at zero.
    pub(super) fn lookup(&self, orders: impl Iterator<Item = Vec<Arc<str>>>) -> LookupMeter {
        for order in orders {
            for (at, from) in order.iter().enumerate() {
                for to in order.iter().skip(at + 1) {
                    for reason in Outcome::ALL.iter().filter(|reason| is_fallback_reason(**reason)) {
                        self.fallbacks.with_label_values(&[from, to, reason.as_str()]);
                    }
                }
            }
        }
        LookupMeter {
            chain: ChainMeter { fallbacks: self.fallbacks.clone(), attempts: self.attempts.clone() },
            verdicts: self.verdicts.clone(),
        }
    }
}

/// Whether a question can go on from a provider to the next because of `outcome`.
fn is_fallback_reason(outcome: Outcome) -> bool {
    match outcome {
        // `no_record`, where the next provider must confirm it.
        Outcome::Verdict => true,
        // Such a provider is passed over before it is asked.
        Outcome::SkippedUnsupported => false,
        _ => outcome.rule().next_provider != Next::No,
    }
}

impl CapacityMeter {
    /// Counts that `party` found nothing left of `shared`.
    pub(super) fn short_of(&self, shared: Shared, party: &Party, share: Share) {
        self.0.with_label_values(&[&*party.owner, shared.into(), share.as_str()]).inc();
    }
}

impl EndpointMeter {
    pub(super) fn attempted(&self, outcome: Outcome, duration: Duration) {
        if let Some(counter) = self.attempts.get(outcome as usize) {
            counter.inc();
        }
        if !outcome.is_skip() {
            self.duration.observe(duration.as_secs_f64());
        }
        if outcome == Outcome::SkippedHold {
            self.held.inc();
        }
    }

    /// Counts a call that has ended, in time or late, by whether it is billed.
    pub(super) fn answered(&self, prices: Tariff, result: &Result<Finding, Fault>) {
        let billed = match result {
            Ok(finding) => prices.billed(finding.verdict),
            // Nothing was sent to the provider.
            Err(fault) if fault.is_unsent() => return,
            Err(fault) => fault.billed,
        };
        if let Some(counter) = self.billed.get(billed as usize) {
            counter.inc();
        }
    }
}

impl ProviderMeter {
    /// Sets the gauge of the current account fault and clears the others.
    pub(super) fn account(&self, fault: Option<Reason>) {
        for (reason, gauge) in &self.account_faults {
            gauge.set(i64::from(fault == Some(*reason)));
        }
    }
}

impl ChainMeter {
    pub(super) fn fallback(&self, from: &str, to: &str, why: Outcome) {
        self.fallbacks.with_label_values(&[from, to, why.as_str()]).inc();
    }

    /// Counts a provider that was skipped as a whole.
    pub(super) fn skipped(&self, provider: &str, why: Outcome) {
        self.attempts.with_label_values(&[provider, "", why.as_str()]).inc();
    }
}

impl LookupMeter {
    pub(super) fn verdict(&self, provider: &str, verdict: Verdict) {
        self.verdicts.with_label_values(&[provider, verdict.as_str()]).inc();
    }
}
