//! What the ledger is told of answers: each question that could be read, with what its caller was told.
//!
//! Invariants: a verdict that cost money, or that finishes an idempotency key, is on the disk before anybody is told;
//! everything else is written when its turn comes. Who is not authenticated, over the rate, or sends what cannot be read has asked nothing: it is in the log only,
//! so that nobody can fill the ledger with noise.

use super::reply::{AttemptDocument, VerifyReply};
use super::{Api, Refused};
use crate::domain::receipt::Salt;
use crate::domain::subject::Subject;
use crate::server::http::problem::Problem;
use crate::server::http::request_scope::Trace;
use crate::server::snapshot::Snapshot;
use crate::storage::ledger::{self, Flight};
use crate::verify::{Answer, Failure, FailureKind, Source, Ticket};

/// The client of a question that came over no wire.
const LOCAL: &str = "local";

impl Api {
    /// The person, as the ledger knows them; nothing if there is none.
    pub(in crate::server) fn in_ledger(&self, subject: &Subject) -> Option<ledger::Subject> {
        let of = || ledger::Subject::new(&self.digest_key, &self.digest_key.person(subject));
        self.ledger.is_on().then(of)
    }

    /// Writes a verdict down: before it is told if it cost money or finishes a key, when its turn comes otherwise.
    ///
    /// # Errors
    /// `ledger_unavailable` if it had to be written and cannot be.
    pub(in crate::server) async fn write_verdict(
        &self,
        now: &Snapshot,
        subject: &Subject,
        trace: &mut Trace,
        answer: &Answer,
        reply: &VerifyReply,
    ) -> Result<(), Refused> {
        let Some(ticket) = trace.ticket.clone().filter(|_| self.ledger.is_on()) else { return Ok(()) };
        trace.flight = answer.flight.clone();
        let salt = now.receipts.can_sign().then(|| Salt::of(&self.digest_key, ticket.id));
        let receipt = salt.map(|salt| salt.digest(subject).to_hex());
        let plain = plain(trace, ticket, answer.verdict.as_str(), answer.flight.id());
        let answered = ledger::Answer {
            source: Some(answer.source.as_str().to_owned()),
            provider: Some(answer.provider.to_string()),
            provider_request_id: answer.provider_request_id.as_ref().map(|id| id.as_str().to_owned()),
            verified_at_ms: Some(answer.verified_at.as_millisecond()),
            attempts: answer.attempts.iter().map(|attempt| attempt_of(&AttemptDocument::from(attempt))).collect(),
            receipt,
            ..plain
        };
        let held = trace.held.take_if(|_| answered.claim.is_some());
        let flight = answer.flight.clone();
        let written = match (held, answer.source) {
            (Some(held), _) => self.write_finishing(held, answered, flight, reply).await,
            (None, Source::Cache) => {
                self.ledger.note(|at_ms| ledger::Answer { at_ms, ..answered }, Flight::NONE);
                Ok(())
            }
            (None, Source::Provider | Source::Shared) => {
                self.ledger.write(|at_ms| ledger::Answer { at_ms, ..answered }, flight).await
            }
        };
        written.map_err(|ledger::NotWritten| {
            Box::new(Problem::from(Failure {
                attempts: answer.attempts.clone(),
                retry_after: Some(crate::server::api::handler::SOON),
                ..Failure::bare(FailureKind::LedgerUnavailable)
            }))
        })?;
        trace.ticket = None;
        Ok(())
    }

    /// Writes down that a question was answered by a problem, if it was one that could be read and is not written yet.
    pub(in crate::server) fn note_refusal(&self, trace: &mut Trace, code: &str, attempts: &[AttemptDocument]) {
        let Some(ticket) = trace.ticket.take().filter(|_| self.ledger.is_on()) else { return };
        let flight = std::mem::replace(&mut trace.flight, Flight::NONE);
        let plain = plain(trace, ticket, code, flight.id());
        let attempts = attempts.iter().map(attempt_of).collect();
        self.ledger.note(|at_ms| ledger::Answer { at_ms, attempts, ..plain }, flight);
    }
}

fn plain(trace: &Trace, ticket: Ticket, outcome: &str, flight: Option<uuid::Uuid>) -> ledger::Answer {
    let client = trace.caller.as_ref().map_or(LOCAL, |caller| &caller.client.name);
    ledger::Answer {
        id: ticket.id,
        at_ms: 0,
        client: client.to_owned(),
        key_id: ticket.key_id.to_string(),
        purpose: trace.purpose.as_deref().unwrap_or_default().to_owned(),
        reference: ticket.reference,
        subject: trace.person.clone(),
        outcome: outcome.to_owned(),
        source: None,
        provider: None,
        provider_request_id: None,
        verified_at_ms: None,
        flight,
        attempts: Vec::new(),
        configuration: ticket.configuration.to_string(),
        receipt: None,
        claim: trace.claim,
    }
}

fn attempt_of(attempt: &AttemptDocument) -> ledger::Attempt {
    ledger::Attempt {
        provider: attempt.provider.clone(),
        endpoint: attempt.endpoint.clone(),
        outcome: attempt.outcome.to_string(),
        billed: attempt.billed.to_string(),
        duration_ms: attempt.duration_ms,
        reason: attempt.reason.as_ref().map(ToString::to_string),
    }
}
