//! Maps the attempts of a run without a verdict to a failure. A pure function with a table test.

use std::time::Duration;

use super::endpoint::ChainAbort;
use super::question::{Attempt, FailureKind};
use crate::domain::outcome::Outcome;

/// The failure for these attempts, and the earliest time at which a retry can help. `abort` is set if something other
/// than a provider ended the run.
pub(super) fn of(attempts: &[Attempt], abort: Option<ChainAbort>) -> (FailureKind, Option<Duration>) {
    let kind = kind_of(attempts);
    // A pending call may still bring the verdict at no further cost.
    if let Some(ChainAbort { kind, retry_after }) = abort.filter(|_| kind != FailureKind::OutcomeUnknown) {
        return (kind, Some(retry_after));
    }
    let retry_after = attempts.iter().filter_map(|attempt| attempt.retry_after).min();
    (kind, retry_after.filter(|_| may_pass(kind)))
}

/// Whether the same question can succeed later.
pub(super) const fn may_pass(kind: FailureKind) -> bool {
    !matches!(kind, FailureKind::UnsupportedDocument | FailureKind::RejectedByProvider)
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

/// An unreachable provider counts as asked: it has not refused the input and may accept it later.
fn all_asked(attempts: &[Attempt], wanted: fn(Outcome) -> bool) -> bool {
    attempts.iter().filter(|attempt| !attempt.outcome.is_skip()).all(|attempt| wanted(attempt.outcome))
}

fn refuses_person(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::SubjectThrottled | Outcome::SkippedHold)
}

/// Not called, or refused for a reason unrelated to this question.
fn cannot_be_asked(outcome: Outcome) -> bool {
    outcome.is_skip() || matches!(outcome, Outcome::AccountFault | Outcome::RateLimited)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use Outcome::{
        AccountFault, InputRefused, Interrupted, ProviderError, RateLimited, SkippedBudget, SkippedDeadline,
        SkippedFull, SkippedHold, SkippedOpen, SkippedRate, SkippedUnsupported, SourceDown, Timeout, Unreachable,
        Unreadable,
    };

    fn ended(attempts: &[(Outcome, Option<u64>)]) -> (FailureKind, Option<u64>) {
        let attempt = |&(outcome, retry_after): &(Outcome, Option<u64>)| {
            Attempt::skipped(&Arc::default(), &Arc::default(), outcome, retry_after.map(Duration::from_secs))
        };
        let (kind, retry_after) = of(&attempts.iter().map(attempt).collect::<Vec<_>>(), None);
        (kind, retry_after.map(|retry_after| retry_after.as_secs()))
    }

    #[test]
    fn every_run_without_a_verdict_has_a_name() {
        use FailureKind::{
            NoProviderAvailable, OutcomeUnknown, ProviderFailure, RejectedByProvider, UnsupportedDocument,
        };
        for (outcomes, kind) in [
            (&[SkippedUnsupported][..], UnsupportedDocument),
            (&[SkippedUnsupported, SkippedUnsupported], UnsupportedDocument),
            (&[SkippedUnsupported, SkippedOpen], NoProviderAvailable),
            (&[SkippedUnsupported, InputRefused], RejectedByProvider),
            (&[InputRefused], RejectedByProvider),
            (&[InputRefused, InputRefused], RejectedByProvider),
            (&[InputRefused, SkippedOpen], RejectedByProvider),
            // A provider that did not refuse the input may still accept it later, so the refusal must not be final.
            (&[InputRefused, ProviderError], ProviderFailure),
            (&[InputRefused, Unreachable], ProviderFailure),
            (&[Unreachable, InputRefused], ProviderFailure),
            (&[InputRefused, AccountFault], ProviderFailure),
            (&[Outcome::SubjectThrottled], FailureKind::SubjectThrottled),
            (&[Outcome::SubjectThrottled, SkippedHold], FailureKind::SubjectThrottled),
            (&[SkippedHold, SkippedUnsupported], FailureKind::SubjectThrottled),
            (&[Outcome::SubjectThrottled, ProviderError], ProviderFailure),
            (&[SkippedHold, SkippedOpen], NoProviderAvailable),
            (&[AccountFault], NoProviderAvailable),
            (&[RateLimited, SkippedRate, SkippedFull, SkippedOpen], NoProviderAvailable),
            (&[AccountFault, SourceDown], ProviderFailure),
            (&[SourceDown], ProviderFailure),
            (&[ProviderError, ProviderError, SkippedDeadline], ProviderFailure),
            (&[Unreachable, Unreachable], ProviderFailure),
            (&[Unreadable], ProviderFailure),
            // The connection is gone, so nothing is pending, though the call may have been billed.
            (&[Interrupted], ProviderFailure),
            (&[Timeout], OutcomeUnknown),
            (&[Timeout, ProviderError], OutcomeUnknown),
            (&[InputRefused, Timeout, SkippedDeadline], OutcomeUnknown),
        ] {
            let attempts: Vec<_> = outcomes.iter().map(|outcome| (*outcome, None)).collect();
            assert_eq!(ended(&attempts), (kind, None), "{outcomes:?}");
        }
    }

    #[test]
    fn the_earliest_time_that_helps_is_told_where_time_helps() {
        let all_out = [(AccountFault, Some(60)), (SkippedOpen, Some(5)), (SkippedFull, None)];
        assert_eq!(ended(&all_out), (FailureKind::NoProviderAvailable, Some(5)));
        let held = [(Outcome::SubjectThrottled, Some(600)), (SkippedHold, Some(300))];
        assert_eq!(ended(&held), (FailureKind::SubjectThrottled, Some(300)));
        let invalid = [(InputRefused, Some(5)), (SkippedOpen, Some(7))];
        assert_eq!(ended(&invalid), (FailureKind::RejectedByProvider, None));
        assert_eq!(ended(&[(SkippedUnsupported, Some(5))]), (FailureKind::UnsupportedDocument, None));
        assert_eq!(ended(&[(SkippedBudget, Some(3600))]), (FailureKind::NoProviderAvailable, Some(3600)));
    }

    #[test]
    fn what_bars_every_call_names_the_failure_unless_a_call_is_pending() {
        let hour = Duration::from_secs(3600);
        let abort = |kind| Some(ChainAbort { kind, retry_after: hour });
        let attempts = |outcomes: &[Outcome]| {
            let skipped = |outcome: &Outcome| Attempt::skipped(&Arc::default(), &Arc::default(), *outcome, None);
            outcomes.iter().map(skipped).collect::<Vec<_>>()
        };
        for outcomes in [&[][..], &[ProviderError], &[SkippedUnsupported], &[SkippedOpen, Interrupted]] {
            for kind in [FailureKind::BudgetExhausted, FailureKind::LedgerUnavailable] {
                assert_eq!(of(&attempts(outcomes), abort(kind)), (kind, Some(hour)), "{outcomes:?}");
            }
        }
        let pending = of(&attempts(&[Timeout]), abort(FailureKind::BudgetExhausted));
        assert_eq!(pending, (FailureKind::OutcomeUnknown, None));
    }
}
