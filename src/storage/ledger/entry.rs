//! Ledger entries: calls, answers, claims on idempotency keys, people forgotten on request, removals of expired entries,
//! and what operators did. People appear only as keyed digests.
//!
//! Invariant: an entry is written once, as one JSON text. The hash chain covers exactly those bytes, so entries are
//! never serialized again. Add new fields at the end with `#[serde(default)]`, because old entries stay as they are.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chain_hash::Seal;
use crate::domain::subject::{Digest, DigestKey};

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantNames)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Entry {
    Call(Call),
    /// A question was answered with a verdict or a problem.
    Answer(Answer),
    /// An idempotency key was used for the first time.
    Claim(Claim),
    /// A person was forgotten at an operator's request.
    Forgotten(Forgotten),
    /// Expired entries were removed from the front.
    Removed(Removed),
    /// An operator did something, or was refused; or the configuration was reloaded.
    Operation(Operation),
}

/// One call to a provider, whether it ended in time or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub id: Uuid,
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    /// The flight that made it; all calls about one question share it.
    pub flight: Uuid,
    pub subject: Subject,
    /// The client whose question started the flight.
    pub client: String,
    pub purpose: String,
    pub provider: String,
    pub endpoint: String,
    #[serde(flatten)]
    pub end: End,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The outcome code, such as `verdict` or `timeout`.
    pub outcome: String,
    /// A more specific cause than the outcome, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// `yes`, `no` or `unknown`.
    pub billed: String,
    /// The cost, in millionths of a yuan; if `billed` is `unknown`, what it costs at most.
    pub price_micro_yuan: u64,
    pub duration_ms: u64,
    /// Whether it ended after its attempt had been given up.
    pub late: bool,
}

/// One question and the answer that its caller got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The verification id. A problem has one too: the id that a verdict would have had.
    pub id: Uuid,
    /// When the answer was given, in milliseconds since 1970.
    pub at_ms: i64,
    pub client: String,
    /// The public id of the key or certificate that the client presented; empty if none was needed.
    pub key_id: String,
    pub purpose: String,
    /// The client's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// `None` if the question was refused because of the name or the ID number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// `match`, `mismatch`, `no_record`, or the code of the problem.
    pub outcome: String,
    /// `provider`, `shared` or `cache`; `None` for a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The provider that gave the verdict, even if the answer came from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// When the provider gave the verdict, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at_ms: Option<i64>,
    /// The flight that the question started or joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flight: Option<Uuid>,
    /// The attempts made for the question, including skipped endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    pub configuration: String,
    /// The salted digest of the person, as shown in the receipt: 64 hexadecimal digits. `None` without a verdict or if
    /// receipts are off. The salt is not stored; it is derived from the digest key and the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The claim on the idempotency key of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Uuid>,
}

/// Binds an idempotency key to the request body that it was first used with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub id: Uuid,
    /// When the key was claimed, in milliseconds since 1970.
    pub at_ms: i64,
    pub client: String,
    /// Always `claimed`.
    pub outcome: String,
    /// The digest of client and key, as 64 hexadecimal digits.
    pub key: String,
    /// The digest of the body, as 64 hexadecimal digits.
    pub body: String,
    pub subject: Subject,
}

/// A person forgotten at an operator's request: earlier claims about this person no longer hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    pub id: Uuid,
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// Always empty, because no client caused it; the database requires the field.
    pub client: String,
    /// Always `forgotten`.
    pub outcome: String,
    pub subject: Subject,
    /// The operator who requested it.
    pub operator: String,
    /// Why, if the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that an operator did or was refused, or a reload of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub id: Uuid,
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// Always empty, because no client caused it; the database requires the field.
    pub client: String,
    /// `isolated`, `restored`, `reloaded`, `changed`, `answered` …; or the code of the problem.
    pub outcome: String,
    /// `isolate`, `restore`, `reload`, `log_level`, `verification`, `verifications`, `search`, `export` or `receipt`; in the
    /// console also `question`, `sign_in` and `sign_out`.
    pub action: String,
    /// The operator's name in the configuration; for a reload without one, `signal` or `file`.
    pub operator: String,
    /// Why, if the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// When an isolation or a log level ends by itself, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The person who was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The verification that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Uuid>,
    /// The sections that a reload added, changed or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<String>,
    /// The log level that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// A removal of expired entries. Its seal is the evidence: the chain begins after the entry that the last one names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub id: Uuid,
    /// The time from which age was counted: no later than the entry before this one.
    pub at_ms: i64,
    /// Always empty, because no client caused it; the database requires the field.
    pub client: String,
    /// `removed`; `adopted` for what an idgate removed that did not seal removals.
    pub outcome: String,
    /// The number of the last entry that was removed.
    pub up_to: i64,
    /// Its seal, as 64 hexadecimal digits.
    pub seal: String,
    /// The latest time of an entry that this removed; `None` if adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ms: Option<i64>,
    /// How long entries were kept at that time.
    pub keep_ms: i64,
}

/// One attempt of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub provider: String,
    pub endpoint: String,
    pub outcome: String,
    /// `yes`, `no` or `unknown`.
    pub billed: String,
    pub duration_ms: u64,
    /// A more specific cause than the outcome, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person as the ledger knows them: a keyed digest, and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The public id of the digest key.
    pub key: String,
    /// 64 hexadecimal digits.
    pub digest: String,
}

/// A flight in progress: what the journal keeps to record its question if the process ends before there is an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub flight: Uuid,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// The verification id of the question that started it.
    pub id: Uuid,
    pub client: String,
    /// The public id of the key or certificate that the client presented.
    pub key_id: String,
    pub purpose: String,
    /// The client's own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    pub subject: Subject,
    pub configuration: String,
}

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunCall {
    pub id: Uuid,
    pub flight: Uuid,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    pub provider: String,
    pub endpoint: String,
    /// The most that it can cost, in millionths of a yuan.
    pub price_micro_yuan: u64,
}

impl Entry {
    /// The id, unique among all entries.
    pub const fn id(&self) -> Uuid {
        match self {
            Entry::Call(call) => call.id,
            Entry::Answer(answer) => answer.id,
            Entry::Claim(claim) => claim.id,
            Entry::Forgotten(forgotten) => forgotten.id,
            Entry::Removed(removed) => removed.id,
            Entry::Operation(operation) => operation.id,
        }
    }

    /// When it happened, in milliseconds since 1970.
    pub const fn at_ms(&self) -> i64 {
        match self {
            Entry::Call(call) => call.at_ms,
            Entry::Answer(answer) => answer.at_ms,
            Entry::Claim(claim) => claim.at_ms,
            Entry::Forgotten(forgotten) => forgotten.at_ms,
            Entry::Removed(removed) => removed.at_ms,
            Entry::Operation(operation) => operation.at_ms,
        }
    }

    /// The kind, as a metric label.
    pub fn kind(&self) -> &'static str {
        self.into()
    }
}

impl Removed {
    /// The outcome of a removal that an earlier idgate left unsealed.
    pub const ADOPTED: &'static str = "adopted";

    /// The removal of all entries up to the one with this number and seal. Its id is taken from the seal, so that the
    /// same removal is written once.
    pub(super) fn new((up_to, seal): (i64, Seal), newest_ms: Option<i64>, at_ms: i64, keep_ms: i64) -> Self {
        let outcome = if newest_ms.is_some() { "removed" } else { Self::ADOPTED };
        let start = seal.0.first_chunk::<16>().copied().unwrap_or_default();
        let id = uuid::Builder::from_custom_bytes(start).into_uuid();
        let (client, outcome, seal) = (String::new(), outcome.to_owned(), seal.to_hex());
        Self { id, at_ms, client, outcome, up_to, seal, newest_ms, keep_ms }
    }
}

impl Begun {
    /// The entry for one of the flight's calls.
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

    /// The answer recorded for a question that was cut off.
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
    /// The result recorded for a call whose actual result is unknown.
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
    /// The person with this `digest`, which was made with `key`.
    pub fn new(key: &DigestKey, digest: &Digest) -> Self {
        Self { key: key.id().to_owned(), digest: digest.to_hex() }
    }
}
