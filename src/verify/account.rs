//! What all endpoints of a provider share, because they are one account: slots, rate, holds, its own faults.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::billing::ProviderSpend;
use super::credentials::{CredentialStore, Given};
use super::holds::Holds;
use super::metrics::ProviderMeter;
use crate::domain::money::Prices;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::subject::{Digest, Subject};
use crate::domain::verdict::Finding;
use crate::providers::Driver;
use crate::resilience::account::{self, AccountSuspension};
use crate::resilience::bulkhead::Bulkhead;
use crate::resilience::limiter::Limiter;

/// Providers without a hint mean seconds when they say "too fast".
const PAUSE_WITHOUT_HINT: Duration = Duration::from_secs(1);
/// No hint keeps us off a provider for longer than this: a mistaken header must not be an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// One provider's account.
#[derive(Debug)]
pub(super) struct Account {
    /// The provider's name in the configuration.
    pub(super) name: Arc<str>,
    pub(super) driver: &'static Driver,
    pub(super) prices: Prices,
    pub(super) spend: Arc<ProviderSpend>,
    pub(super) attempt_timeout: Duration,
    pub(super) keys: Arc<CredentialStore>,
    pub(super) max_concurrency: usize,
    pub(super) bulkhead: Bulkhead,
    pub(super) rate_limit: NonZeroU32,
    pub(super) limiter: Arc<Limiter>,
    pub(super) intervals: account::Config,
    /// Account faults: set aside for an interval of their own, longer each time.
    pub(super) standing: AccountSuspension<Reason>,
    pub(super) holds: Arc<Holds>,
    pub(super) meter: ProviderMeter,
    /// Set aside by the operator.
    pub(super) isolated: Arc<AtomicBool>,
}

impl Account {
    /// Why this provider is not asked about `subject` at all, if so.
    pub(super) fn unfit(&self, subject: &Subject) -> Option<Outcome> {
        let takes = self.driver.kinds.contains(&subject.kind())
            && subject.parsed_name().code_points() <= self.driver.name_limit;
        if !takes {
            Some(Outcome::SkippedUnsupported)
        } else if self.is_isolated() {
            Some(Outcome::SkippedOpen)
        } else {
            None
        }
    }

    pub(super) fn is_isolated(&self) -> bool {
        self.isolated.load(Ordering::Relaxed)
    }

    /// Other credentials, after a reload. What was set aside because of its key is tried again at once.
    pub(super) fn replace_keys(&self, given: Given, now: Instant) {
        if self.keys.replace(given) {
            self.forgive_its_key(now);
        }
    }

    /// Looks whether another credential was fetched behind the scenes. What was set aside because of the one before is
    /// tried again at once.
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

    /// What an answer about `person` teaches the account. Returns when another try can help, as far as it tells.
    pub(super) fn learn(&self, result: &Result<Finding, Fault>, person: Digest, now: Instant) -> Option<Duration> {
        let fault = result.as_ref().err()?;
        let (provider, reason) = (&*self.name, fault.reason.as_str());
        match fault.outcome {
            Outcome::SubjectThrottled => {
                let hold = self.holds.hold(person, now);
                tracing::info!(provider, hold_seconds = hold.as_secs(), "a person is held off this provider");
                Some(hold)
            }
            Outcome::RateLimited => {
                let pause = fault.retry_after.unwrap_or(PAUSE_WITHOUT_HINT).min(LONGEST_PAUSE);
                self.limiter.pause(now, pause);
                tracing::warn!(provider, pause_ms = pause.as_millis(), "the provider asks for a pause");
                Some(pause)
            }
            // Whoever fetches it has said why.
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
