//! What a run without a verdict is called. Read from its attempts alone, so that it can be tested as a table.

use std::time::Duration;

use super::question::{Attempt, FailureKind};
use crate::domain::outcome::Outcome;

/// The failure that these attempts amount to, and the earliest time at which another try can help.
pub(super) fn of(attempts: &[Attempt]) -> (FailureKind, Option<Duration>) {
    let kind = kind_of(attempts);
    let helps = attempts.iter().filter_map(|attempt| attempt.retry_after).min();
    let may_help = !matches!(kind, FailureKind::UnsupportedDocument | FailureKind::RejectedByProvider);
    (kind, helps.filter(|_| may_help))
}

fn kind_of(attempts: &[Attempt]) -> FailureKind {
    let any = |wanted: fn(Outcome) -> bool| attempts.iter().any(|attempt| wanted(attempt.outcome));
    let all = |wanted: fn(Outcome) -> bool| attempts.iter().all(|attempt| wanted(attempt.outcome));
    if any(|outcome| outcome == Outcome::Timeout) {
        return FailureKind::OutcomeUnknown;
    }
    if all(|outcome| outcome == Outcome::SkippedUnsupported) && !attempts.is_empty() {
        return FailureKind::UnsupportedDocument;
    }
    let asked_says = |wanted: fn(Outcome) -> bool| any(wanted) && all_asked(attempts, wanted);
    if asked_says(|outcome| outcome == Outcome::InputRefused) {
        FailureKind::RejectedByProvider
    } else if any(refuses_person) && all(|outcome| refuses_person(outcome) || outcome == Outcome::SkippedUnsupported) {
        FailureKind::SubjectThrottled
    } else if all(cannot_be_asked) {
        FailureKind::NoProviderAvailable
    } else {
        FailureKind::ProviderFailure
    }
}

fn all_asked(attempts: &[Attempt], wanted: fn(Outcome) -> bool) -> bool {
    attempts.iter().filter(|attempt| attempt.outcome.was_sent()).all(|attempt| wanted(attempt.outcome))
}

fn refuses_person(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::SubjectThrottled | Outcome::SkippedHold)
}

/// Not called, or turned away at the door for a reason that has nothing to do with this question.
fn cannot_be_asked(outcome: Outcome) -> bool {
    outcome.is_skip() || matches!(outcome, Outcome::AccountFault | Outcome::RateLimited)
}
