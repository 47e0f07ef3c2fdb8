//! The state that all endpoints of a provider share, because they use one account: slots, rate, holds, account faults.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::billing::ProviderSpend;
use super::credentials::{CredentialStore, Given};
use super::holds::Holds;
use super::isolation::Isolation;
use super::metrics::ProviderMeter;
use crate::domain::money::Tariff;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::{Digest, Subject};
use crate::domain::verdict::Finding;
use crate::providers::Driver;
use crate::resilience::account::{self, AccountSuspension};
use crate::resilience::bulkhead::Bulkhead;
use crate::resilience::limiter::Limiter;
use crate::storage::shared::Shared;

/// The pause after a provider's rate-limit error that has no `Retry-After`.
const PAUSE_WITHOUT_HINT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: Arc<str>,
    pub(super) driver: &'static Driver,
    pub(super) prices: Tariff,
    pub(super) spend: Arc<ProviderSpend>,
    pub(super) attempt_timeout: Duration,
    pub(super) keys: Arc<CredentialStore>,
    pub(super) max_concurrency: usize,
    pub(super) bulkhead: Bulkhead,
    pub(super) rate_limit: NonZeroU32,
    pub(super) limiter: Arc<Limiter>,
    pub(super) intervals: account::Config,
    /// Suspends the provider after an account fault, for longer each time.
    pub(super) standing: AccountSuspension<Reason>,
    pub(super) holds: Arc<Holds>,
    pub(super) meter: ProviderMeter,
    /// Set by an operator.
    pub(super) isolation: Arc<Isolation>,
}

impl Account {
    /// The reason to skip this provider for `subject`, if there is one.
    pub(super) fn unfit(&self, subject: &Subject) -> Option<Outcome> {
        let takes = self.driver.kinds.contains(&subject.kind())
            && subject.parsed_name().code_points() <= self.driver.name_limit;
        if !takes {
            Some(Outcome::SkippedUnsupported)
        } else if self.isolation.at(Instant::now()).is_some() {
            Some(Outcome::SkippedOpen)
        } else {
            None
        }
    }

    /// Replaces the credentials after a reload. A suspension caused by the old key ends at once.
    pub(super) fn replace_keys(&self, given: Given, now: Instant) {
        if self.keys.replace(given) {
            self.forgive_its_key(now);
        }
    }

    /// Checks whether a new credential was fetched in the background. A suspension caused by the old one ends at once.
    pub(super) fn look_for_keys(&self, now: Instant) {
        if self.keys.came_anew() {
            self.forgive_its_key(now);
        }
    }

    fn forgive_its_key(&self, now: Instant) {
        let because_of_its_key =
            |aside: account::Snapshot<Reason>| matches!(aside.reason, Reason::KeyRefused | Reason::SignatureRefused);
        if self.standing.snapshot(now).is_some_and(because_of_its_key) {
            self.standing.restore();
        }
    }

    /// Tells the other replicas what was learnt: a hold of the person, or a pause.
    pub(super) fn tell(
        &self,
        result: &Result<Finding, Fault>,
        person: Digest,
        wait: Option<Duration>,
        shared: &Shared,
    ) {
        match result.as_ref().map_err(|fault| fault.outcome) {
            Err(Outcome::SubjectThrottled) => {
                let holds = self.holds.config();
                shared.hold(person, &self.name, holds.first, holds.longest);
            }
            Err(Outcome::RateLimited) => shared.pause(&self.name, self.rate_limit, wait.unwrap_or_default()),
            _ => {}
        }
    }

    /// Updates the account from an answer about `person`. Returns when a retry can help, if known.
    pub(super) fn learn(&self, result: &Result<Finding, Fault>, person: Digest, now: Instant) -> Option<Duration> {
        let fault = match result {
            Ok(_) => {
                self.limiter.served(now);
                return None;
            }
            Err(fault) => fault,
        };
        let (provider, reason) = (&*self.name, fault.reason.as_str());
        match fault.outcome {
            Outcome::SubjectThrottled => {
                let hold = self.holds.hold(person, now);
                tracing::info!(provider, hold_seconds = hold.as_secs(), "a person is held off this provider");
                Some(hold)
            }
            Outcome::RateLimited => {
                let pause = self.limiter.pause(now, fault.retry_after.unwrap_or(PAUSE_WITHOUT_HINT));
                tracing::warn!(provider, pause_ms = pause.as_millis(), "the provider asks for a pause");
                Some(pause)
            }
            // The fetch has already logged the cause.
            Outcome::AccountFault if fault.reason == Reason::NoCredential => {
                self.keys.lack(now).map(|lack| lack.retry_after)
            }
            Outcome::AccountFault => {
                tracing::error!(provider, reason, code = fault.code, "account fault: set aside until somebody acts");
                self.standing.snapshot(now).map(|aside| aside.retry_after)
            }
            Outcome::Unreachable if matches!(fault.reason, Reason::CertificateRefused | Reason::PinMismatch) => {
                tracing::error!(provider, reason, "not the provider, or not its certificate: nothing was sent");
                fault.retry_after
            }
            Outcome::Unreadable => {
                tracing::error!(provider, reason, code = fault.code, "unreadable answer");
                fault.retry_after
            }
            _ => fault.retry_after,
        }
    }
}
