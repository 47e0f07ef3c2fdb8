//! The third step: a question gets its verdict, from memory, from a call in flight, or from a provider.

use tokio::time::Instant;

use super::answer::{Delivered, Unwritten};
use super::state::Pipeline;
use crate::domain::receipt::Salt;
use crate::server::audit::Written;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::request_scope::RequestScope;
use crate::server::snapshot::Snapshot;
use crate::verify::{Answer, Attempt, Question, Source};

/// Asks, and writes the verdict down.
///
/// # Errors
/// Why there is no verdict.
pub(in crate::server) async fn ask_and_write(
    pipeline: &Pipeline,
    now: &Snapshot,
    question: &Question,
    scope: &mut RequestScope,
) -> Result<Delivered, Refused> {
    let unwritten = ask(pipeline, now, question, scope).await?;
    let began = scope.traced_now();
    let written = unwritten.write(false).await;
    traced(began, written.as_ref().ok(), scope);
    written.map_err(|lost| lost.refuse(scope))
}

/// Notes in the trace that the ledger was waited for since `began`.
pub(in crate::server) fn traced(began: Option<Instant>, delivered: Option<&Delivered>, scope: &mut RequestScope) {
    if let Some(began) = began
        && let Some(trace) = scope.trace()
    {
        let word = |delivered: &Delivered| if delivered.is_kept { Written::OnDisk } else { Written::Queued };
        trace.written(began, delivered.map(word));
    }
}

/// Asks. The verdict takes the request's ledger entry with it.
///
/// # Errors
/// Why there is no verdict.
pub(in crate::server) async fn ask(
    pipeline: &Pipeline,
    now: &Snapshot,
    question: &Question,
    scope: &mut RequestScope,
) -> Result<Unwritten, Refused> {
    if pipeline.last_call.is_cancelled() {
        // Nothing new begins, since nobody would be here to answer it.
        return Err(Box::new(Problem::new(Code::ShuttingDown).with_retry_after(SOON)));
    }
    let began = scope.traced_now();
    let waiting = scope.wait();
    let answer = tokio::select! {
        biased;
        answer = now.runtime.ask(question) => answer,
        // A call may be under way, and then is paid for, although it is not answered here.
        () = pipeline.last_call.cancelled() => {
            let problem = Problem::new(Code::ShuttingDown).with_retry_after(SOON).perhaps_billed();
            return Err(Box::new(problem.with_verification_id(question.ticket.id)));
        }
    };
    match answer {
        Ok(answer) => {
            if answer.source == Source::Cache {
                waiting.was_none();
            } else {
                drop(waiting);
            }
            trace(began, question, Some(answer.source), &answer.attempts, scope);
            Ok(unwritten(pipeline, now, question, answer, scope))
        }
        Err(failure) => {
            drop(waiting);
            trace(began, question, None, &failure.attempts, scope);
            let has_called = failure.has_called();
            let problem = Problem::from(failure);
            Err(Box::new(if has_called { problem.with_verification_id(question.ticket.id) } else { problem }))
        }
    }
}

/// Notes in the trace of the request how its question went since `began`.
fn trace(
    began: Option<Instant>,
    question: &Question,
    source: Option<Source>,
    attempts: &[Attempt],
    scope: &mut RequestScope,
) {
    if let Some(began) = began
        && let Some(trace) = scope.trace()
    {
        trace.recalled(began, question.recall.end(), source);
        trace.attempted(attempts);
    }
}

/// An answer that takes the request's ledger entry with it.
pub(in crate::server) fn unwritten(
    pipeline: &Pipeline,
    now: &Snapshot,
    question: &Question,
    answer: Answer,
    scope: &mut RequestScope,
) -> Unwritten {
    let id = question.ticket.id;
    let audit = scope.take_audit();
    let has_receipt = audit.is_some() && now.receipts.can_sign();
    let receipt = has_receipt.then(|| Salt::of(&pipeline.digest_key, id).digest(&question.subject));
    Unwritten::new(id, answer, receipt, audit)
}
