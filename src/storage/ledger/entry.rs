//! What is written down: calls that were made, and answers that were given. No person: only keyed digests.
//!
//! Invariant: an entry is written once, as one JSON text whose bytes are what the hash chain is over; nothing reads it
//! back to write it again. To add a member: at the end, with `#[serde(default)]`, since old entries stay as they are.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::subject::{Digest, DigestKey};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantNames)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Entry {
    /// A provider was called.
    Call(Call),
    /// A question was answered, by a verdict or by a problem.
    Answer(Answer),
    /// An idempotency key was used for the first time.
    Claim(Claim),
    /// A person was forgotten.
    Forgotten(Forgotten),
}

/// One call of a provider, in time or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its own id.
    pub id: Uuid,
    /// When it had ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The flight that made it: the same for all calls about one question.
    pub flight: Uuid,
    /// Whom it was about.
    pub subject: Subject,
    /// The client whose question led the flight.
    pub client: String,
    /// What that client asked for.
    pub purpose: String,
    /// The provider.
    pub provider: String,
    /// Its endpoint.
    pub endpoint: String,
    /// What came of it.
    #[serde(flatten)]
    pub end: End,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The word of its outcome, such as `verdict` or `timeout`.
    pub outcome: String,
    /// The finer cause, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The verdict, if it brought one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The provider's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub billed: String,
    /// What it cost, or what it costs at most if it is billed, in millionths of a yuan.
    pub price_micro_yuan: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether it came after its attempt had been given up.
    pub late: bool,
}

/// One question with the answer that its caller was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its verification id; of a problem the id that it would have had.
    pub id: Uuid,
    /// When it was given, in milliseconds since 1970.
    pub at_ms: i64,
    /// The client.
    pub client: String,
    /// The public id of the key or certificate that it showed; empty if none was needed.
    pub key_id: String,
    /// What it asked for.
    pub purpose: String,
    /// Its own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whom it asked about; unknown where the question was refused because of the name or the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// `match`, `mismatch`, `no_record`, or the code of the problem.
    pub outcome: String,
    /// `provider`, `shared` or `cache`; nothing for a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The provider that gave the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Its reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// When it gave it, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at_ms: Option<i64>,
    /// The flight that it led or joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flight: Option<Uuid>,
    /// What was tried for it, skipped endpoints too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The configuration that it was answered under.
    pub configuration: String,
    /// The salted digest of the person that its receipt shows, as 64 hexadecimal digits; nothing where there is no
    /// verdict, or receipts are off. Its salt is nowhere: it comes from the digest key and the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The claim on the idempotency key that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Uuid>,
}

/// An idempotency key, which belongs to the body that it came with from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its own id.
    pub id: Uuid,
    /// When the key was claimed, in milliseconds since 1970.
    pub at_ms: i64,
    /// The client whose key it is.
    pub client: String,
    /// Always `claimed`.
    pub outcome: String,
    /// The digest of client and key, as 64 hexadecimal digits.
    pub key: String,
    /// The digest of the body, as 64 hexadecimal digits.
    pub body: String,
    /// Whom the body is about.
    pub subject: Subject,
}

/// A person whom an operator had forgotten: no claim before it holds any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Its own id.
    pub id: Uuid,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Always empty: it is no client's doing.
    pub client: String,
    /// Always `forgotten`.
    pub outcome: String,
    /// Who was forgotten.
    pub subject: Subject,
    /// The operator that had it done.
    pub operator: String,
}

/// One attempt of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The provider.
    pub provider: String,
    /// Its endpoint.
    pub endpoint: String,
    /// What it came to.
    pub outcome: String,
    /// `yes`, `no` or `unknown`.
    pub billed: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The finer cause, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person, as the ledger knows them: a keyed digest, and which key made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The public id of the digest key.
    pub key: String,
    /// 64 hexadecimal digits.
    pub digest: String,
}

/// A question whose answer is being looked for: what the ledger needs to know of it if nobody can tell the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The flight.
    pub flight: Uuid,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// The verification id of the question that leads it.
    pub id: Uuid,
    /// The client that asked.
    pub client: String,
    /// The public id of its key.
    pub key_id: String,
    /// What it asked for.
    pub purpose: String,
    /// Its own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whom it asked about.
    pub subject: Subject,
    /// The configuration of the moment.
    pub configuration: String,
}

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunCall {
    /// Its id.
    pub id: Uuid,
    /// The flight that makes it.
    pub flight: Uuid,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// The provider.
    pub provider: String,
    /// Its endpoint.
    pub endpoint: String,
    /// The most that it can cost.
    pub price_micro_yuan: u64,
}

impl Entry {
    /// Its id, of which there is one entry.
    pub const fn id(&self) -> Uuid {
        match self {
            Entry::Call(call) => call.id,
            Entry::Answer(answer) => answer.id,
            Entry::Claim(claim) => claim.id,
            Entry::Forgotten(forgotten) => forgotten.id,
        }
    }

    /// What is written, and sealed.
    pub(super) fn text(&self) -> serde_json::Result<String> {
        // One piece of memory for nearly all.
        let mut text = Vec::with_capacity(1024);
        serde_json::to_writer(&mut text, self)?;
        Ok(String::from_utf8(text).unwrap_or_default())
    }

    /// Whether it says anything about an idempotency key.
    pub(super) const fn is_about_keys(&self) -> bool {
        match self {
            Entry::Answer(answer) => answer.claim.is_some() && answer.source.is_some(),
            Entry::Claim(_) | Entry::Forgotten(_) => true,
            Entry::Call(_) => false,
        }
    }

    /// When it happened.
    pub const fn at_ms(&self) -> i64 {
        match self {
            Entry::Call(call) => call.at_ms,
            Entry::Answer(answer) => answer.at_ms,
            Entry::Claim(claim) => claim.at_ms,
            Entry::Forgotten(forgotten) => forgotten.at_ms,
        }
    }

    /// Its kind, for metrics.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

impl Begun {
    /// One of its calls, with what came of it.
    pub(super) fn call(&self, begun: &BegunCall, at_ms: i64, end: End) -> Call {
        Call {
            id: begun.id,
            at_ms,
            flight: self.flight,
            subject: self.subject.clone(),
            client: self.client.clone(),
            purpose: self.purpose.clone(),
            provider: begun.provider.clone(),
            endpoint: begun.endpoint.clone(),
            end,
        }
    }

    /// The answer of a question that was cut off.
    pub(super) fn cut_off(self, attempts: Vec<Attempt>) -> Answer {
        Answer {
            id: self.id,
            at_ms: self.at_ms,
            client: self.client,
            key_id: self.key_id,
            purpose: self.purpose,
            reference: self.reference,
            subject: Some(self.subject),
            outcome: "outcome_unknown".to_owned(),
            source: None,
            provider: None,
            provider_request_id: None,
            verified_at_ms: None,
            flight: Some(self.flight),
            attempts,
            configuration: self.configuration,
            receipt: None,
            claim: None,
        }
    }
}

impl BegunCall {
    /// What is known of a call whose end nobody saw.
    pub(super) fn interrupted(&self) -> End {
        End {
            outcome: "interrupted".to_owned(),
            reason: None,
            verdict: None,
            provider_request_id: None,
            billed: "unknown".to_owned(),
            price_micro_yuan: self.price_micro_yuan,
            duration_ms: 0,
            late: false,
        }
    }
}

impl From<&Call> for Attempt {
    fn from(call: &Call) -> Self {
        Self {
            provider: call.provider.clone(),
            endpoint: call.endpoint.clone(),
            outcome: call.end.outcome.clone(),
            billed: call.end.billed.clone(),
            duration_ms: call.end.duration_ms,
            reason: call.end.reason.clone(),
        }
    }
}

impl Subject {
    /// The person of `digest`, made with `key`.
    pub fn new(key: &DigestKey, digest: &Digest) -> Self {
        Self { key: key.id().to_owned(), digest: digest.to_hex() }
    }
}
