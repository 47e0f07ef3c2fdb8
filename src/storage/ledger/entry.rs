//! What is written down: calls that were made, and answers that were given. No person: only keyed digests.
//!
//! Invariant: an entry is written once, as one JSON text whose bytes are what the hash chain is over; nothing reads it
//! back to write it again. To add a member: at the end, with `#[serde(default)]`, since old entries stay as they are.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::subject::Digest;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// A provider was called.
    Call(Call),
    /// A question was answered, by a verdict or by a problem.
    Answer(Answer),
}

/// One call of a provider, in time or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
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
    /// What it cost, or what it costs if it is billed, in millionths of a yuan.
    pub price_micro_yuan: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether it came after its attempt had been given up.
    pub late: bool,
}

/// One question with the answer that its caller was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When it was given, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its verification id; of a problem the id that it would have had.
    pub id: Uuid,
    /// The client.
    pub client: String,
    /// The public id of the key that it showed.
    pub key_id: String,
    /// What it asked for.
    pub purpose: String,
    /// Its own reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whom it asked about; unknown where the question was refused before that was clear.
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
}

/// A person, as the ledger knows them: a keyed digest, and which key made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The public id of the digest key.
    pub key: String,
    /// 64 hexadecimal digits.
    pub digest: String,
}

impl Subject {
    /// The person of `digest`, made with the key of that id.
    pub fn new(key: &str, digest: &Digest) -> Self {
        let digest = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { key: key.to_owned(), digest }
    }
}
