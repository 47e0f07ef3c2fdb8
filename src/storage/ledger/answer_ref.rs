//! An answer on its way to the ledger that copies nothing, for the hits: they are most of what is written.

use uuid::Uuid;

#[cfg(test)]
use super::entry::Answer;
use super::entry::{Attempt, Subject};

/// An [`Answer`](super::Answer) that borrows what it says, for those that are written without being kept. It has the same text.
#[derive(Debug, Clone)]
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
}

impl AnswerRef<'_> {
    /// Appends the text, with `id` and `flight` as they are written. By hand, because serde looks at each byte of each
    /// key and value and costs four times as much.
    pub(super) fn write_text(&self, id: &str, flight: Option<&str>, to: &mut Vec<u8>) -> serde_json::Result<()> {
        to.extend_from_slice(br#"{"kind":"answer""#);
        member(br#","id":"#, Some(id), to)?;
        to.extend_from_slice(br#","at_ms":"#);
        serde_json::to_writer(&mut *to, &self.at_ms)?;
        member(br#","client":"#, Some(self.client), to)?;
        member(br#","key_id":"#, Some(self.key_id), to)?;
        member(br#","purpose":"#, Some(self.purpose), to)?;
        member(br#","reference":"#, self.reference, to)?;
        if let Some(Subject { key, digest }) = self.subject {
            member(br#","subject":{"key":"#, Some(key), to)?;
            member(br#","digest":"#, Some(digest), to)?;
            to.push(b'}');
        }
        member(br#","outcome":"#, Some(self.outcome), to)?;
        member(br#","source":"#, self.source, to)?;
        member(br#","provider":"#, self.provider, to)?;
        member(br#","provider_request_id":"#, self.provider_request_id, to)?;
        if let Some(at_ms) = self.verified_at_ms {
            to.extend_from_slice(br#","verified_at_ms":"#);
            serde_json::to_writer(&mut *to, &at_ms)?;
        }
        member(br#","flight":"#, flight, to)?;
        if !self.attempts.is_empty() {
            to.extend_from_slice(br#","attempts":"#);
            serde_json::to_writer(&mut *to, self.attempts)?;
        }
        member(br#","configuration":"#, Some(self.configuration), to)?;
        member(br#","receipt":"#, self.receipt, to)?;
        to.push(b'}');
        Ok(())
    }
}

fn member(key: &[u8], value: Option<&str>, to: &mut Vec<u8>) -> serde_json::Result<()> {
    let Some(value) = value else { return Ok(()) };
    to.extend_from_slice(key);
    // Without a way out of the loop, so that it is done many bytes at a time.
    let is_plain = value.bytes().fold(true, |is, byte| is & (byte >= b' ') & (byte != b'"') & (byte != b'\\'));
    if !is_plain {
        return serde_json::to_writer(to, value);
    }
    to.push(b'"');
    to.extend_from_slice(value.as_bytes());
    to.push(b'"');
    Ok(())
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
