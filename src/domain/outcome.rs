//! Outcomes of an attempt, and the one table of their consequences.
//!
//! Chain and breaker follow [`Outcome::rule`]; no other file decides the consequences of a fault. `Run::accept` in
//! `verify::chain` decides which verdict is final, and `verify::failure` which problem the caller gets.

use std::time::Duration;

use crate::domain::money::Billed;
use crate::domain::verdict::RequestId;

/// The result of one attempt at one provider's endpoint, or why no call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The provider's documented verdict field had a value.
    Verdict,
    /// The provider calls the pair invalid although it passed our own rules.
    InputRefused,
    /// The provider refuses this person for now ("403 异常重复调用").
    SubjectThrottled,
    /// The provider refuses our account because it exceeds a rate limit.
    RateLimited,
    /// Arrears, quota, activation, key, signature or clock: every call fails until somebody fixes it.
    AccountFault,
    /// The authoritative source behind the provider is unavailable.
    SourceDown,
    /// An internal error of the provider.
    ProviderError,
    /// Nothing was sent: DNS, connect or TLS failed.
    Unreachable,
    /// Sent, but no answer in time.
    Timeout,
    /// Sent, but the connection broke.
    Interrupted,
    /// An answer that we cannot interpret or trust.
    Unreadable,
    /// Not called: the endpoint's breaker is open; or, with a reason, the provider is set aside or isolated.
    SkippedOpen,
    /// Not called: the maximum number of calls is in flight.
    SkippedFull,
    /// Not called: our own outbound rate limit, or a pause the provider asked for.
    SkippedRate,
    /// Not called: calls about this person to this provider are on hold.
    SkippedHold,
    /// Not called: the provider does not support this kind of document or a name this long.
    SkippedUnsupported,
    /// Not called: too little time is left, or no further billed attempt is allowed.
    SkippedDeadline,
    /// Not called: the provider's budget is used up.
    SkippedBudget,
    /// Not called: this process or machine has no descriptor or memory for another connection.
    SkippedExhausted,
}

/// How an outcome affects the breaker of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerEffect {
    Success,
    Failure,
    /// Not counted: says nothing about the endpoint's health.
    Neutral,
}

/// Whether to continue with the next endpoint or provider after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Yes,
    No,
    /// As `ByPolicy`, but only once per question.
    Once,
    /// Yes, unless the call may have been billed and the policy `on_unknown` is `stop`.
    ByPolicy,
}

/// One row of the table: the consequences of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether to try the next endpoint of the same provider.
    pub next_endpoint: Next,
    /// Whether to try the next provider.
    pub next_provider: Next,
    pub breaker: BreakerEffect,
    /// Whether the call was billed, unless the driver knows better.
    pub billed: Billed,
}

impl Outcome {
    /// In the order of the documentation.
    pub const ALL: &'static [Outcome] = <Self as strum::VariantArray>::VARIANTS;

    /// The name used in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The table. `billed` of `Verdict` is a placeholder: the provider's prices decide.
    pub const fn rule(self) -> Rule {
        use BreakerEffect::{Failure, Neutral, Success};
        use Next::{ByPolicy, No, Once, Yes};
        let (next_endpoint, next_provider, breaker, billed) = match self {
            // `no_record` with `on_no_record = "ask_next"` is the exception, which the chain decides.
            Outcome::Verdict => (No, No, Success, Billed::Yes),
            Outcome::InputRefused => (No, Yes, Neutral, Billed::No),
            Outcome::SubjectThrottled => (No, ByPolicy, Neutral, Billed::Unknown),
            Outcome::RateLimited => (No, Yes, Neutral, Billed::No),
            Outcome::AccountFault => (No, Yes, Neutral, Billed::No),
            Outcome::SourceDown => (No, ByPolicy, Failure, Billed::Unknown),
            Outcome::ProviderError => (Once, ByPolicy, Failure, Billed::Unknown),
            Outcome::Unreachable => (Yes, Yes, Failure, Billed::No),
            Outcome::Timeout | Outcome::Interrupted => (No, ByPolicy, Failure, Billed::Unknown),
            Outcome::Unreadable => (No, ByPolicy, Failure, Billed::Unknown),
            // A skipped endpoint leaves the question unchanged. Slots, rate, holds, document kinds and budget belong to
            // the whole account and are the same at its next endpoint, so only `SkippedOpen` continues there.
            Outcome::SkippedOpen => (Yes, Yes, Neutral, Billed::No),
            Outcome::SkippedFull | Outcome::SkippedRate => (No, Yes, Neutral, Billed::No),
            Outcome::SkippedHold | Outcome::SkippedUnsupported => (No, Yes, Neutral, Billed::No),
            Outcome::SkippedDeadline => (No, No, Neutral, Billed::No),
            Outcome::SkippedBudget => (No, Yes, Neutral, Billed::No),
            // The next provider may have a connection that is already open.
            Outcome::SkippedExhausted => (No, Yes, Neutral, Billed::No),
        };
        Rule { next_endpoint, next_provider, breaker, billed }
    }

    /// Whether no call was attempted.
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
                | Outcome::SkippedExhausted
        )
    }
}

/// The specific cause of a fault: a closed set, suitable for metrics, alerts and the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Reason {
    // --- account faults: each needs somebody to act ---
    /// The account owes money.
    Arrears,
    /// The prepaid package is used up.
    QuotaUsedUp,
    /// The subscription or authorization has ended.
    SubscriptionExpired,
    /// The product is not activated, or not subscribed to.
    NotActivated,
    /// The key exists but lacks the permission, or a security policy blocks it.
    NoPermission,
    /// The key, AppCode or AppKey is unknown, disabled or expired.
    KeyRefused,
    /// The key is known but the signature is wrong, so the secret is wrong.
    SignatureRefused,
    /// There is no credential: it could not be fetched, or has expired.
    NoCredential,
    /// This machine's clock is wrong.
    Clock,
    /// Wrong host, action, version or API: an error in the configuration.
    Misconfigured,
    // --- unreadable answers: each raises an alert ---
    /// Not the document that the protocol promises: bad JSON, wrong type, empty or truncated.
    Garbage,
    /// Fields that contradict each other.
    Contradiction,
    /// A code, text or verdict value that is not documented.
    UnknownCode,
    /// The answer is about another person.
    WrongEcho,
    /// A redirect; redirects are never followed.
    Redirect,
    /// A body above the size limit.
    TooBig,
    /// The provider calls our request malformed: a bug of ours, or of an intermediary.
    RequestForm,
    // --- nothing was sent ---
    /// DNS resolution failed.
    NameUnresolved,
    /// No valid certificate for this host name: unknown issuer, expired, or issued for another host.
    CertificateRefused,
    /// A valid certificate, but its key is not one of the pinned ones.
    PinMismatch,
    /// Another TLS handshake failure, such as an outdated version.
    TlsFailed,
    /// The proxy is unreachable, or refuses the tunnel.
    ProxyFailed,
    // --- others ---
    /// Skipped because an operator has isolated the provider.
    Isolated,
    /// Called although its breaker is open, because every breaker of the chain is.
    Trickle,
    /// The nonce was used before: an intermediary repeated the request, and the first copy may have been served.
    NonceReused,
    /// Nothing more specific is known.
    Unspecified,
}

impl Reason {
    /// The reasons of account faults, for metrics that are exported at zero.
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

    /// Whether it adds information to the outcome.
    pub const fn is_specific(self) -> bool {
        !matches!(self, Reason::Unspecified)
    }

    /// The name used in logs, metrics and the status page.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a provider could not answer. Contains no text from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Never [`Outcome::Verdict`]; of the skips only [`Outcome::SkippedExhausted`], which shows when a call is sent.
    pub outcome: Outcome,
    pub reason: Reason,
    /// The documented code that reported it, if any; taken from the driver's own table, never from the response.
    pub code: Option<&'static str>,
    pub billed: Billed,
    /// How long the provider asks us to wait.
    pub retry_after: Option<Duration>,
    pub request_id: Option<RequestId>,
}

impl Fault {
    /// Billed as the table says.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, code: None, billed: outcome.rule().billed, retry_after: None, request_id: None }
    }

    pub const fn unreadable(reason: Reason) -> Self {
        Self::new(Outcome::Unreadable, reason)
    }

    /// Whether nothing was sent to the provider.
    pub const fn is_unsent(&self) -> bool {
        matches!(self.outcome, Outcome::Unreachable | Outcome::SkippedExhausted)
            || matches!(self.reason, Reason::NoCredential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the documentation, copied from there: outcome, next endpoint, next provider, breaker, billed.
    const CONTRACT: [(&str, &str, &str, &str, &str); 19] = [
        ("verdict", "no", "no", "success", "by price"),
        ("input_refused", "no", "yes", "neutral", "no"),
        ("subject_throttled", "no", "by policy", "neutral", "unknown"),
        ("rate_limited", "no", "yes", "neutral", "no"),
        ("account_fault", "no", "yes", "neutral", "no"),
        ("source_down", "no", "by policy", "failure", "unknown"),
        ("provider_error", "once", "by policy", "failure", "unknown"),
        ("unreachable", "yes", "yes", "failure", "no"),
        ("timeout", "no", "by policy", "failure", "unknown"),
        ("interrupted", "no", "by policy", "failure", "unknown"),
        ("unreadable", "no", "by policy", "failure", "unknown"),
        ("skipped_open", "yes", "yes", "neutral", "no"),
        ("skipped_full", "no", "yes", "neutral", "no"),
        ("skipped_rate", "no", "yes", "neutral", "no"),
        ("skipped_hold", "no", "yes", "neutral", "no"),
        ("skipped_unsupported", "no", "yes", "neutral", "no"),
        ("skipped_deadline", "no", "no", "neutral", "no"),
        ("skipped_budget", "no", "yes", "neutral", "no"),
        ("skipped_exhausted", "no", "yes", "neutral", "no"),
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
    fn the_policy_decides_after_every_outcome_that_may_be_billed_and_after_no_other() {
        for outcome in Outcome::ALL {
            let Rule { next_endpoint, next_provider, billed, .. } = outcome.rule();
            let may_be_billed = billed == Billed::Unknown;
            assert_eq!(next_provider == Next::ByPolicy, may_be_billed, "{}", outcome.as_str());
            assert!(!may_be_billed || next_endpoint != Next::Yes, "{}", outcome.as_str());
        }
    }

    #[test]
    fn whatever_was_not_called_says_so_in_its_name() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.is_skip(), outcome.as_str().starts_with("skipped_"), "{}", outcome.as_str());
        }
    }

    #[test]
    fn outcomes_stand_in_the_order_of_their_numbers() {
        // Counters are indexed by the discriminant.
        assert!(Outcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
    }
}
