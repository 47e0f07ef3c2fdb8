//! What an attempt can come to, and the one table of what follows from it.
//!
//! The chain, the breaker, the problem documents and the metrics all read [`Outcome::rule`]; no other
//! file decides what a fault does.

use std::time::Duration;

use crate::domain::money::Billed;
use crate::domain::verdict::RequestId;

/// What one attempt at one provider's endpoint came to, or why no call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The provider's documented verdict field spoke.
    Verdict,
    /// The provider calls the pair invalid although it passed our own rules.
    InputRefused,
    /// The provider refuses this person for now ("403 异常重复调用").
    SubjectThrottled,
    /// The provider refuses our account for going too fast.
    RateLimited,
    /// Arrears, quota, activation, key, signature, clock: nothing works until somebody acts.
    AccountFault,
    /// The authoritative source behind the provider is out.
    SourceDown,
    /// The provider failed inside.
    ProviderError,
    /// Nothing was sent: DNS, connect or TLS failed.
    Unreachable,
    /// Sent, and no answer in time.
    Timeout,
    /// Sent, and the connection broke.
    Interrupted,
    /// An answer that means nothing we can trust.
    Unreadable,
    /// Not called: the endpoint's breaker is open, or the provider is set aside or isolated.
    SkippedOpen,
    /// Not called: as many calls as allowed are in flight.
    SkippedFull,
    /// Not called: our own outbound rate, or a pause the provider asked for.
    SkippedRate,
    /// Not called: this person is held off this provider.
    SkippedHold,
    /// Not called: the provider does not take this kind of document or a name this long.
    SkippedUnsupported,
    /// Not called: too little of the time budget, or no budget for another billed attempt, is left.
    SkippedDeadline,
    /// Not called: the budget of the provider is used up.
    SkippedBudget,
}

/// What an outcome does to the breaker of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerEffect {
    /// Counts as a success.
    Success,
    /// Counts as a failure.
    Failure,
    /// Says nothing about the endpoint's health.
    Neutral,
}

/// Whether to go on after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Yes,
    /// Do not go on.
    No,
    /// Go on, once per question.
    Once,
    /// As the policy `on_unknown` says.
    ByPolicy,
}

/// One row of the table: what follows from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Is the next endpoint of the same provider asked?
    pub next_endpoint: Next,
    /// Is the next provider asked?
    pub next_provider: Next,
    /// What the endpoint's breaker learns.
    pub breaker: BreakerEffect,
    /// Whether it was paid for, unless the driver knows better.
    pub billed: Billed,
}

impl Outcome {
    /// Every outcome, in the order of the documentation.
    pub const ALL: &'static [Outcome] = <Self as strum::VariantArray>::VARIANTS;

    /// The word used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The table. The column `billed` of `Verdict` is a placeholder: the provider's prices decide.
    pub const fn rule(self) -> Rule {
        use BreakerEffect::{Failure, Neutral, Success};
        use Next::{ByPolicy, No, Once, Yes};
        let (next_endpoint, next_provider, breaker, billed) = match self {
            Outcome::Verdict => (No, No, Success, Billed::Yes),
            Outcome::InputRefused => (No, Yes, Neutral, Billed::No),
            Outcome::SubjectThrottled => (No, Yes, Neutral, Billed::Unknown),
            Outcome::RateLimited => (No, Yes, Neutral, Billed::No),
            Outcome::AccountFault => (No, Yes, Neutral, Billed::No),
            Outcome::SourceDown => (No, Yes, Failure, Billed::Unknown),
            Outcome::ProviderError => (Once, Yes, Failure, Billed::Unknown),
            Outcome::Unreachable => (Yes, Yes, Failure, Billed::No),
            Outcome::Timeout | Outcome::Interrupted => (No, ByPolicy, Failure, Billed::Unknown),
            Outcome::Unreadable => (No, Yes, Failure, Billed::Unknown),
            // An endpoint that was not called leaves the question where it was. What the whole account
            // shares (slots, rate, hold, kind, budget) is the same at the next endpoint, so only `SkippedOpen` moves.
            Outcome::SkippedOpen => (Yes, Yes, Neutral, Billed::No),
            Outcome::SkippedFull | Outcome::SkippedRate => (No, Yes, Neutral, Billed::No),
            Outcome::SkippedHold | Outcome::SkippedUnsupported => (No, Yes, Neutral, Billed::No),
            Outcome::SkippedDeadline => (No, No, Neutral, Billed::No),
            Outcome::SkippedBudget => (No, Yes, Neutral, Billed::No),
        };
        Rule { next_endpoint, next_provider, breaker, billed }
    }

    /// Whether no call was even tried.
    pub const fn is_skip(self) -> bool {
        matches!(
            self,
            Outcome::SkippedOpen
                | Outcome::SkippedFull
                | Outcome::SkippedRate
                | Outcome::SkippedHold
                | Outcome::SkippedUnsupported
                | Outcome::SkippedDeadline
                | Outcome::SkippedBudget
        )
    }
}

/// The finer cause of a fault: a closed set, fit for metrics, alerts and the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    // --- account faults: each is somebody's task ---
    /// The account owes money.
    Arrears,
    /// The prepaid package is used up.
    QuotaUsedUp,
    /// The subscription or authorization has ended.
    SubscriptionExpired,
    /// The product is not activated, or not subscribed to.
    NotActivated,
    /// The key exists and lacks the permission, or a security policy blocks it.
    NoPermission,
    /// The key, AppCode or AppKey is unknown, disabled or expired.
    KeyRefused,
    /// The key is known and the signature is wrong: the secret is.
    SignatureRefused,
    /// There is no credential: it could not be fetched, or has ended.
    NoCredential,
    /// The clock of this machine is off.
    Clock,
    /// Wrong host, action, version or API: a mistake of the configuration.
    Misconfigured,
    // --- unreadable answers: each is an alert ---
    /// Not the document the protocol promises: bad JSON, wrong type, empty, truncated.
    Garbage,
    /// Fields that contradict each other.
    Contradiction,
    /// A code, text or verdict value that no document lists.
    UnknownCode,
    /// The answer speaks of another person.
    WrongEcho,
    /// A redirect; none is ever followed.
    Redirect,
    /// A body over the cap.
    TooBig,
    /// The provider calls our request malformed: a defect of ours, or of something in between.
    RequestForm,
    // --- nothing was sent, and why ---
    /// The name has no address, as far as anybody can tell.
    NameUnresolved,
    /// No valid certificate of this name: unknown issuer, expired, another host's.
    CertificateRefused,
    /// A valid certificate with a key that is none of the pinned ones.
    PinMismatch,
    /// Another failure of the TLS handshake, such as a version that is too old.
    TlsFailed,
    /// The proxy cannot be reached, or gives no tunnel.
    ProxyFailed,
    // --- the rest ---
    /// The nonce was seen before: something repeated the request behind our back, the first may have been served.
    NonceReused,
    /// Nothing finer is known.
    Unspecified,
}

impl Reason {
    /// The reasons of an account fault, for metrics that exist at zero.
    pub const ACCOUNT: [Reason; 10] = [
        Reason::Arrears,
        Reason::QuotaUsedUp,
        Reason::SubscriptionExpired,
        Reason::NotActivated,
        Reason::NoPermission,
        Reason::KeyRefused,
        Reason::SignatureRefused,
        Reason::NoCredential,
        Reason::Clock,
        Reason::Misconfigured,
    ];

    /// Whether it says more than the outcome does.
    pub const fn is_specific(self) -> bool {
        !matches!(self, Reason::Unspecified)
    }

    /// The word used in logs, metrics and the status page.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A provider could not answer. Holds no text of the provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it came to; never [`Outcome::Verdict`], never a skip.
    pub outcome: Outcome,
    /// The finer cause.
    pub reason: Reason,
    /// The documented code that said so, if one did (from the driver's own table, never from the wire).
    pub code: Option<&'static str>,
    /// Whether it was paid for.
    pub billed: Billed,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The provider's reference for the call.
    pub request_id: Option<RequestId>,
}

impl Fault {
    /// A fault of this kind, billed as the table says.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, code: None, billed: outcome.rule().billed, retry_after: None, request_id: None }
    }

    /// An answer that cannot be trusted, and why.
    pub const fn unreadable(reason: Reason) -> Self {
        Self::new(Outcome::Unreadable, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the contract, row by row, typed from there: outcome, next endpoint, next provider, breaker, billed.
    const CONTRACT: [(&str, &str, &str, &str, &str); 18] = [
        ("verdict", "no", "no", "success", "by price"),
        ("input_refused", "no", "yes", "neutral", "no"),
        ("subject_throttled", "no", "yes", "neutral", "unknown"),
        ("rate_limited", "no", "yes", "neutral", "no"),
        ("account_fault", "no", "yes", "neutral", "no"),
        ("source_down", "no", "yes", "failure", "unknown"),
        ("provider_error", "once", "yes", "failure", "unknown"),
        ("unreachable", "yes", "yes", "failure", "no"),
        ("timeout", "no", "by policy", "failure", "unknown"),
        ("interrupted", "no", "by policy", "failure", "unknown"),
        ("unreadable", "no", "yes", "failure", "unknown"),
        ("skipped_open", "yes", "yes", "neutral", "no"),
        ("skipped_full", "no", "yes", "neutral", "no"),
        ("skipped_rate", "no", "yes", "neutral", "no"),
        ("skipped_hold", "no", "yes", "neutral", "no"),
        ("skipped_unsupported", "no", "yes", "neutral", "no"),
        ("skipped_deadline", "no", "no", "neutral", "no"),
        ("skipped_budget", "no", "yes", "neutral", "no"),
    ];

    fn next(next: Next) -> &'static str {
        match next {
            Next::Yes => "yes",
            Next::No => "no",
            Next::Once => "once",
            Next::ByPolicy => "by policy",
        }
    }

    #[test]
    fn the_table_is_the_contracts_row_by_row() {
        let rows = Outcome::ALL.iter().map(|outcome| {
            let rule = outcome.rule();
            let breaker = match rule.breaker {
                BreakerEffect::Success => "success",
                BreakerEffect::Failure => "failure",
                BreakerEffect::Neutral => "neutral",
            };
            let billed = if *outcome == Outcome::Verdict { "by price" } else { rule.billed.as_str() };
            (outcome.as_str(), next(rule.next_endpoint), next(rule.next_provider), breaker, billed)
        });
        assert_eq!(rows.collect::<Vec<_>>(), CONTRACT);
    }

    #[test]
    fn whatever_was_not_called_says_so_in_its_name() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.is_skip(), outcome.as_str().starts_with("skipped_"), "{}", outcome.as_str());
        }
    }

    #[test]
    fn outcomes_stand_in_the_order_of_their_numbers() {
        // Counters are found by number.
        assert!(Outcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
    }
}
