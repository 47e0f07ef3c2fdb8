//! An answer on its way to the ledger that copies nothing, for the hits: they are most of what is written.

use serde::Serialize;
use uuid::Uuid;

#[cfg(test)]
use super::entry::Answer;
use super::entry::{Attempt, Subject};

/// An [`Answer`](super::Answer) that borrows what it says, for those that are written without being kept. It has the same text.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename = "answer")]
pub struct AnswerRef<'a> {
    pub id: Uuid,
    pub at_ms: i64,
    pub client: &'a str,
    pub key_id: &'a str,
    pub purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a Subject>,
    pub outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flight: Option<Uuid>,
    #[serde(skip_serializing_if = "<[Attempt]>::is_empty")]
    pub attempts: &'a [Attempt],
    pub configuration: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<&'a str>,
}

#[cfg(test)]
impl Answer {
    /// The same without copies, and without the claim on a key.
    pub(super) fn borrowed(&self) -> AnswerRef<'_> {
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
        }
    }
}
