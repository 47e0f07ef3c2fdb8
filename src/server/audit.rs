//! The ledger entry that a question owes: one for each question that could be read, with what its caller was answered.
//!
//! Invariants: [`AuditEntry`] is consumed by the answer that it is written with, so no question has two entries; its
//! request's scope holds it until then and writes it down in every other case. A verdict that cost money, or that
//! finishes an idempotency key, is on the disk before the caller gets it; everything else is queued. Unauthenticated,
//! rate-limited and malformed requests appear in the access log only, so that they cannot fill the ledger.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::subject::Digest;
use crate::server::http::code::Code;
use crate::storage::ledger::{self, Flight, Ledger, NotWritten};
use crate::verify::{Answer, Attempt, Source, Ticket};

/// The entry of a question that has no answer yet.
#[derive(Debug)]
pub(in crate::server) struct AuditEntry {
    ledger: Ledger,
    ticket: Ticket,
    client: Arc<str>,
    purpose: Arc<str>,
    subject: Option<ledger::Subject>,
    claim: Option<Uuid>,
}

impl AuditEntry {
    /// The entry of the question of this `ticket`; none without a ledger.
    pub(in crate::server) fn open(
        ledger: &Ledger,
        ticket: &Ticket,
        client: &Arc<str>,
        purpose: &Arc<str>,
    ) -> Option<Self> {
        ledger.is_on().then(|| Self {
            ledger: ledger.clone(),
            ticket: ticket.clone(),
            client: Arc::clone(client),
            purpose: Arc::clone(purpose),
            subject: None,
            claim: None,
        })
    }

    /// Adds the person, as a keyed digest.
    pub(in crate::server) fn is_about(&mut self, subject: ledger::Subject) {
        self.subject = Some(subject);
    }

    /// Adds the claim on the idempotency key that the question came with.
    pub(in crate::server) fn is_under_claim(&mut self, claim: Option<Uuid>) {
        self.claim = claim;
    }

    /// Writes a verdict down. `must_last`: it has to be on the disk when this returns; otherwise it is queued if it
    /// cost nothing.
    ///
    /// # Errors
    /// The entry, when it cannot be written and had to be. The caller must not get the verdict then.
    pub(in crate::server) async fn verdict(
        self,
        answer: &Answer,
        receipt: Option<Digest>,
        must_last: bool,
    ) -> Result<(), Box<Self>> {
        let entry = |at_ms| ledger::Answer {
            at_ms,
            source: Some(answer.source.as_str().to_owned()),
            provider: Some(answer.provider.to_string()),
            provider_request_id: answer.provider_request_id.as_ref().map(|id| id.as_str().to_owned()),
            verified_at_ms: Some(answer.verified_at.as_millisecond()),
            attempts: answer.attempts.iter().map(on_record).collect(),
            receipt: receipt.as_ref().map(Digest::to_hex),
            ..self.entry(answer.verdict.as_str(), &answer.flight)
        };
        let was_free = answer.source == Source::Cache;
        if must_last || !was_free {
            match self.ledger.write(entry, answer.flight.clone()).await {
                Ok(()) => return Ok(()),
                Err(NotWritten) if was_free => {}
                Err(NotWritten) => return Err(Box::new(self)),
            }
        }
        self.ledger.note(entry, Flight::NONE);
        Ok(())
    }

    /// Queues the entry of a question that was answered by a problem, or whose caller left. It names the flight, which
    /// may still be paid for; the journal keeps the flight until the entry is on the disk.
    pub(in crate::server) fn without_verdict(self, code: Code, attempts: &[Attempt]) {
        let attempts = attempts.iter().map(on_record).collect();
        let flight = self.ticket.joined.flight();
        self.ledger
            .note(|at_ms| ledger::Answer { at_ms, attempts, ..self.entry(code.as_str(), &flight) }, flight.clone());
    }

    fn entry(&self, outcome: &str, flight: &Flight) -> ledger::Answer {
        ledger::Answer {
            id: self.ticket.id,
            at_ms: 0,
            client: self.client.to_string(),
            key_id: self.ticket.key_id.to_string(),
            purpose: self.purpose.to_string(),
            reference: self.ticket.reference.clone(),
            subject: self.subject.clone(),
            outcome: outcome.to_owned(),
            source: None,
            provider: None,
            provider_request_id: None,
            verified_at_ms: None,
            flight: flight.id(),
            attempts: Vec::new(),
            configuration: self.ticket.configuration.to_string(),
            receipt: None,
            claim: self.claim,
        }
    }
}

fn on_record(attempt: &Attempt) -> ledger::Attempt {
    ledger::Attempt {
        provider: attempt.provider.to_string(),
        endpoint: attempt.endpoint.to_string(),
        outcome: attempt.outcome.as_str().to_owned(),
        billed: attempt.billed.as_str().to_owned(),
        duration_ms: attempt.duration_ms(),
        reason: attempt.reason.is_specific().then(|| attempt.reason.as_str().to_owned()),
    }
}
