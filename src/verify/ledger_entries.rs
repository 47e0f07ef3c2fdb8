//! Builds the ledger entries for flights and their calls; writes nothing. `server::audit` has the entries for answers.

use std::time::Duration;

use uuid::Uuid;

use super::billing::Cost;
use super::question::Question;
use crate::domain::outcome::{Fault, Outcome};
use crate::domain::verdict::Finding;
use crate::storage::ledger::{Begun, End, Subject};

/// The entry for the start of the flight that `question` leads.
pub(super) fn begun(question: &Question, subject: Subject) -> impl FnOnce(Uuid, i64) -> Begun {
    move |flight, at_ms| Begun {
        flight,
        at_ms,
        id: question.ticket.id,
        client: question.client.to_string(),
        key_id: question.ticket.key_id.to_string(),
        purpose: question.purpose.to_string(),
        reference: question.ticket.reference.clone(),
        subject,
        configuration: question.ticket.configuration.to_string(),
    }
}

/// The entry for the end of a call.
pub(super) fn end(cost: Cost, result: &Result<Finding, Fault>, duration: Duration, late: bool) -> End {
    let (outcome, verdict, request_id) = match result {
        Ok(finding) => (Outcome::Verdict, Some(finding.verdict), &finding.request_id),
        Err(fault) => (fault.outcome, None, &fault.request_id),
    };
    let reason = result.as_ref().err().map(|fault| fault.reason).filter(|reason| reason.is_specific());
    let Cost { billed, price, .. } = cost;
    End {
        outcome: outcome.as_str().to_owned(),
        reason: reason.map(|reason| reason.as_str().to_owned()),
        verdict: verdict.map(|verdict| verdict.as_str().to_owned()),
        provider_request_id: request_id.as_ref().map(|id| id.as_str().to_owned()),
        billed: billed.as_str().to_owned(),
        price_micro_yuan: price.0,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        late,
    }
}
