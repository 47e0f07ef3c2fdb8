//! The audit entry of a question: one entry in the ledger for each question that could be parsed, with the answer its
//! caller got. And what operators do.
//!
//! Invariants: writing the answer consumes the [`AuditEntry`], so no question has two entries. Until then the request
//! scope holds it, and writes it if the request ends in any other way. A verdict that cost money is on disk before the
//! caller gets it. So is one that completes an idempotency key; if a cached verdict cannot be written, it is told without
//! the key, and queued. Everything else is queued. Unauthenticated, rate-limited and malformed requests appear
//! only in the access log, so that they cannot fill the ledger.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::subject::Digest;
use crate::server::auth::operators::Operator;
use crate::server::http::code::Code;
use crate::storage::ledger::{self, Flight, Ledger, NotWritten, Operation};
use crate::verify::{Answer, Attempt, Source, Ticket};

/// Notes in the ledger what `operator` did: `action` names it, `outcome` is what came of it or the code of a problem,
/// and `about` has the rest. Returns whether it is on the disk; it is never waited for long, and written later if it
/// cannot be now.
pub(in crate::server) async fn note(
    ledger: &Ledger,
    operator: &Operator,
    action: &str,
    outcome: &str,
    about: Operation,
) -> bool {
    let (action, outcome, operator) = (action.to_owned(), outcome.to_owned(), operator.name.to_string());
    ledger.record(|id, at_ms| Operation { id, at_ms, action, outcome, operator, ..about }).await
}

/// Where the entry of a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Written {
    OnDisk,
    /// It may be lost with the process, and so completes no idempotency key.
    Queued,
}

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
    /// Opens the entry for the question with this `ticket`; `None` without a ledger.
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

    /// The verification id.
    pub(in crate::server) fn id(&self) -> Uuid {
        self.ticket.id
    }

    /// Adds the person, as a keyed digest.
    pub(in crate::server) fn is_about(&mut self, subject: ledger::Subject) {
        self.subject = Some(subject);
    }

    /// Adds the claim on the question's idempotency key.
    pub(in crate::server) fn is_under_claim(&mut self, claim: Option<Uuid>) {
        self.claim = claim;
    }

    /// Writes a verdict. It is on disk when this returns if it cost money or `must_last` is set. A cached verdict is
    /// queued otherwise; also if writing it fails, but then without its claim.
    ///
    /// # Errors
    /// The entry, if a verdict that cost money cannot be written. The caller must not get the verdict then.
    pub(in crate::server) async fn verdict(
        mut self,
        answer: &Answer,
        receipt: Option<Digest>,
        must_last: bool,
    ) -> Result<Written, Box<Self>> {
        let was_free = answer.source == Source::Cache;
        if must_last || !was_free {
            match self.write(answer, receipt.as_ref()).await {
                Ok(()) => return Ok(Written::OnDisk),
                Err(NotWritten) if was_free => self.claim = None,
                Err(NotWritten) => return Err(Box::new(self)),
            }
        }
        self.with_verdict(answer, receipt.as_ref(), |entry| self.ledger.note(entry, Flight::NONE));
        Ok(Written::Queued)
    }

    /// Writes a verdict, and returns once it is on the disk.
    fn write(
        &self,
        answer: &Answer,
        receipt: Option<&Digest>,
    ) -> impl Future<Output = Result<(), NotWritten>> + use<'_> {
        self.with_verdict(answer, receipt, |entry| self.ledger.write(entry, answer.flight.clone()))
    }

    /// Passes the entry of a verdict to `pass`.
    fn with_verdict<T>(
        &self,
        answer: &Answer,
        receipt: Option<&Digest>,
        pass: impl FnOnce(ledger::AnswerRef<'_>) -> T,
    ) -> T {
        let receipt = receipt.map(Digest::to_hex);
        let attempts: Vec<_> = answer.attempts.iter().map(on_record).collect();
        pass(ledger::AnswerRef {
            source: Some(answer.source.as_str()),
            provider: Some(&answer.provider),
            provider_request_id: answer.provider_request_id.as_ref().map(|id| id.as_str()),
            verified_at_ms: Some(answer.verified_at.at.as_millisecond()),
            attempts: &attempts,
            receipt: receipt.as_deref(),
            ..self.entry(answer.verdict.as_str(), &answer.flight)
        })
    }

    /// Queues the entry of a question that was answered by a problem, or whose caller left. It names the flight, which
    /// may still be paid for; the journal keeps the flight until the entry is on the disk.
    pub(in crate::server) fn without_verdict(self, code: Code, attempts: &[Attempt]) {
        let attempts: Vec<_> = attempts.iter().map(on_record).collect();
        let flight = self.ticket.joined.flight();
        let entry = ledger::AnswerRef { attempts: &attempts, ..self.entry(code.as_str(), &flight) };
        self.ledger.note(entry, flight.clone());
    }

    /// The entry of a question without a verdict. The ledger adds the time.
    fn entry<'a>(&'a self, outcome: &'a str, flight: &Flight) -> ledger::AnswerRef<'a> {
        ledger::AnswerRef {
            id: self.ticket.id,
            at_ms: 0,
            client: &self.client,
            key_id: &self.ticket.key_id,
            purpose: &self.purpose,
            reference: self.ticket.reference.as_deref(),
            subject: self.subject.as_ref(),
            outcome,
            source: None,
            provider: None,
            provider_request_id: None,
            verified_at_ms: None,
            flight: flight.id(),
            attempts: &[],
            configuration: &self.ticket.configuration,
            receipt: None,
            claim: self.claim,
        }
    }
}

/// An attempt as the ledger has it.
pub(in crate::server) fn on_record(attempt: &Attempt) -> ledger::Attempt {
    ledger::Attempt {
        provider: attempt.provider.to_string(),
        endpoint: attempt.endpoint.to_string(),
        outcome: attempt.outcome.as_str().to_owned(),
        billed: attempt.billed.as_str().to_owned(),
        duration_ms: attempt.duration_ms(),
        reason: attempt.reason.is_specific().then(|| attempt.reason.as_str().to_owned()),
    }
}
