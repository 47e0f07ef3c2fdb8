//! An attempt at a provider as callers see it. Built from the domain's [`Attempt`] during serialization.

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::schema::{BilledWord, OutcomeWord};
use crate::json_writer::Object;
use crate::verify::Attempt;

/// One try at a provider, or the reason why there was none.
#[derive(Serialize, ToSchema)]
pub struct AttemptDocument<'a> {
    /// The provider.
    provider: &'a str,
    /// Its endpoint; empty where the provider as a whole was passed over.
    endpoint: &'a str,
    /// What it came to.
    #[schema(value_type = OutcomeWord)]
    outcome: &'static str,
    /// The finer cause, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    reason: Option<&'static str>,
    /// Whether it is charged for: `yes`, `no` or `unknown`.
    #[schema(value_type = BilledWord)]
    billed: &'static str,
    /// Milliseconds.
    duration_ms: u64,
}

/// One attempt in a log line: `provider/endpoint=outcome(billed)`.
pub(in crate::server) struct InShort<'a>(pub(in crate::server) &'a Attempt);

impl AttemptDocument<'_> {
    /// Writes its members, as serde would.
    pub(in crate::server) fn write(&self, object: &mut Object<'_>) {
        object.text("provider", self.provider);
        object.text("endpoint", self.endpoint);
        object.word("outcome", Some(self.outcome));
        object.word("reason", self.reason);
        object.word("billed", Some(self.billed));
        object.value("duration_ms", &self.duration_ms);
    }
}

impl<'a> From<&'a Attempt> for AttemptDocument<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            provider: &attempt.provider,
            endpoint: &attempt.endpoint,
            outcome: attempt.outcome.as_str(),
            reason: attempt.reason.is_specific().then(|| attempt.reason.as_str()),
            billed: attempt.billed.as_str(),
            duration_ms: attempt.duration_ms(),
        }
    }
}

/// For `#[serde(serialize_with)]`: attempts as documents.
pub(in crate::server) fn documents<S: Serializer>(attempts: &[Attempt], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(attempts.iter().map(AttemptDocument::from))
}

/// All attempts of a request, for its log line.
pub(in crate::server) fn in_short(attempts: &[Attempt]) -> Vec<String> {
    attempts.iter().map(|attempt| InShort(attempt).to_string()).collect()
}

impl fmt::Display for InShort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt { provider, endpoint, outcome, billed, .. } = self.0;
        write!(f, "{provider}/{endpoint}={}({})", outcome.as_str(), billed.as_str())
    }
}
