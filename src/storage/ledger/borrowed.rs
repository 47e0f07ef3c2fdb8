//! Calls and answers on their way to the ledger. They are most of what is written, so they borrow instead of copying, and
//! their text is written without serde, which looks at each byte and takes four times as long.

use uuid::Uuid;

use super::entry::{Answer, Attempt, Begun, BegunCall, Call, End, Subject};
use crate::json_writer::Object;

/// A [`Call`] that borrows what it says. It has the same text.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallRef<'a> {
    pub(super) id: Uuid,
    pub(super) at_ms: i64,
    pub(super) flight: Uuid,
    pub(super) subject: &'a Subject,
    pub(super) client: &'a str,
    pub(super) purpose: &'a str,
    pub(super) provider: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) end: &'a End,
}

/// An [`Answer`] that borrows what it says. It has the same text.
#[derive(Debug, Clone, Copy)]
pub struct AnswerRef<'a> {
    pub id: Uuid,
    pub at_ms: i64,
    pub client: &'a str,
    pub key_id: &'a str,
    pub purpose: &'a str,
    pub reference: Option<&'a str>,
    pub subject: Option<&'a Subject>,
    pub outcome: &'a str,
    pub source: Option<&'a str>,
    pub provider: Option<&'a str>,
    pub provider_request_id: Option<&'a str>,
    pub verified_at_ms: Option<i64>,
    pub flight: Option<Uuid>,
    pub attempts: &'a [Attempt],
    pub configuration: &'a str,
    pub receipt: Option<&'a str>,
    pub claim: Option<Uuid>,
}

impl<'a> CallRef<'a> {
    /// The entry of `call`, one of the flight's calls, after it has ended.
    pub(super) fn ended(begun: &'a Begun, call: &'a BegunCall, at_ms: i64, end: &'a End) -> Self {
        Self {
            id: call.id,
            at_ms,
            flight: begun.flight,
            subject: &begun.subject,
            client: &begun.client,
            purpose: &begun.purpose,
            provider: &call.provider,
            endpoint: &call.endpoint,
            end,
        }
    }

    /// Appends the text, with `id` and `flight` as they are written.
    pub(super) fn write_text(&self, id: &str, flight: Option<&str>, to: &mut Vec<u8>) {
        let End { outcome, reason, verdict, provider_request_id, billed, price_micro_yuan, duration_ms, late } =
            self.end;
        let mut call = Object::open(to);
        call.plain("kind", b"call");
        call.plain("id", id.as_bytes());
        call.value("at_ms", &self.at_ms);
        call.word("flight", flight);
        write_subject(&mut call, self.subject);
        call.text("client", self.client);
        call.text("purpose", self.purpose);
        call.text("provider", self.provider);
        call.text("endpoint", self.endpoint);
        call.text("outcome", outcome);
        call.optional("reason", reason.as_deref());
        call.optional("verdict", verdict.as_deref());
        call.optional("provider_request_id", provider_request_id.as_deref());
        call.text("billed", billed);
        call.value("price_micro_yuan", price_micro_yuan);
        call.value("duration_ms", duration_ms);
        call.value("late", late);
        call.close();
    }
}

impl AnswerRef<'_> {
    /// Appends the text, with `id`, `flight` and `claim` as they are written.
    pub(super) fn write_text(&self, id: &str, flight: Option<&str>, claim: Option<&str>, to: &mut Vec<u8>) {
        let mut answer = Object::open(to);
        answer.plain("kind", b"answer");
        answer.plain("id", id.as_bytes());
        answer.value("at_ms", &self.at_ms);
        answer.text("client", self.client);
        answer.text("key_id", self.key_id);
        answer.text("purpose", self.purpose);
        answer.optional("reference", self.reference);
        if let Some(subject) = self.subject {
            write_subject(&mut answer, subject);
        }
        answer.text("outcome", self.outcome);
        answer.optional("source", self.source);
        answer.optional("provider", self.provider);
        answer.optional("provider_request_id", self.provider_request_id);
        if let Some(at_ms) = self.verified_at_ms {
            answer.value("verified_at_ms", &at_ms);
        }
        answer.word("flight", flight);
        if !self.attempts.is_empty() {
            answer.objects("attempts", self.attempts, write_attempt);
        }
        answer.text("configuration", self.configuration);
        answer.optional("receipt", self.receipt);
        answer.word("claim", claim);
        answer.close();
    }

    /// Whether it is a verdict for a claimed idempotency key.
    pub(super) const fn finishes_a_claim(&self) -> bool {
        self.claim.is_some() && self.source.is_some()
    }

    pub(super) fn owned(&self) -> Answer {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Answer {
            id: self.id,
            at_ms: self.at_ms,
            client: self.client.to_owned(),
            key_id: self.key_id.to_owned(),
            purpose: self.purpose.to_owned(),
            reference: owned(self.reference),
            subject: self.subject.cloned(),
            outcome: self.outcome.to_owned(),
            source: owned(self.source),
            provider: owned(self.provider),
            provider_request_id: owned(self.provider_request_id),
            verified_at_ms: self.verified_at_ms,
            flight: self.flight,
            attempts: self.attempts.to_owned(),
            configuration: self.configuration.to_owned(),
            receipt: owned(self.receipt),
            claim: self.claim,
        }
    }
}

pub(super) fn write_subject(object: &mut Object<'_>, Subject { key, digest }: &Subject) {
    let mut subject = object.object("subject");
    subject.text("key", key);
    subject.text("digest", digest);
    subject.close();
}

fn write_attempt(object: &mut Object<'_>, attempt: &Attempt) {
    let Attempt { provider, endpoint, outcome, billed, duration_ms, reason } = attempt;
    object.text("provider", provider);
    object.text("endpoint", endpoint);
    object.text("outcome", outcome);
    object.text("billed", billed);
    object.value("duration_ms", duration_ms);
    object.optional("reason", reason.as_deref());
}

impl Call {
    /// The same without copies.
    pub(super) fn borrowed(&self) -> CallRef<'_> {
        CallRef {
            id: self.id,
            at_ms: self.at_ms,
            flight: self.flight,
            subject: &self.subject,
            client: &self.client,
            purpose: &self.purpose,
            provider: &self.provider,
            endpoint: &self.endpoint,
            end: &self.end,
        }
    }
}

impl Answer {
    /// The same without copies.
    pub fn borrowed(&self) -> AnswerRef<'_> {
        AnswerRef {
            id: self.id,
            at_ms: self.at_ms,
            client: &self.client,
            key_id: &self.key_id,
            purpose: &self.purpose,
            reference: self.reference.as_deref(),
            subject: self.subject.as_ref(),
            outcome: &self.outcome,
            source: self.source.as_deref(),
            provider: self.provider.as_deref(),
            provider_request_id: self.provider_request_id.as_deref(),
            verified_at_ms: self.verified_at_ms,
            flight: self.flight,
            attempts: &self.attempts,
            configuration: &self.configuration,
            receipt: self.receipt.as_deref(),
            claim: self.claim,
        }
    }
}
