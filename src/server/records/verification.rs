//! The documents of lookups: an answer from the ledger, a page of answers, and the queries.
//!
//! Invariant: a document shows its ledger entry as it was written; no part of an answer is recomputed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::domain::verdict::Verdict;
use crate::server::http::schema::{BilledWord, OutcomeWord, SourceWord, VerdictWord};
use crate::storage::ledger::{Answer, Call};

/// A question that was answered, as it stands in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verification {
    /// The id that its answer had.
    pub(in crate::server) verification_id: Uuid,
    /// When it was answered (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub(in crate::server) answered_at: String,
    /// The client that asked.
    pub(in crate::server) client: String,
    /// What it asked for.
    pub(in crate::server) purpose: String,
    /// Its own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) reference: Option<String>,
    /// The verdict, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<VerdictWord>)]
    pub(in crate::server) verdict: Option<String>,
    /// The code of the problem, if there was none. `outcome_unknown` stands also for a caller who left, or whose answer was
    /// cut off by the end of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) code: Option<String>,
    /// How the verdict came to the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<SourceWord>)]
    pub(in crate::server) source: Option<String>,
    /// The provider that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) provider: Option<String>,
    /// Its reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) provider_request_id: Option<String>,
    /// When it gave it (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    pub(in crate::server) verified_at: Option<String>,
    /// What was tried for this question.
    pub(in crate::server) attempts: Vec<AttemptOnRecord>,
    /// The configuration of that moment.
    pub(in crate::server) configuration: String,
    /// The calls of its flight, late ones too, with their prices. Only for operators, and only by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) calls: Option<Vec<CallOnRecord>>,
    /// What those calls have cost that are billed, in millionths of a yuan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) cost_micro_yuan: Option<u64>,
    /// The same with those of which nobody knows whether they are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) possible_cost_micro_yuan: Option<u64>,
}

/// One try at a provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptOnRecord {
    provider: String,
    endpoint: String,
    #[schema(value_type = OutcomeWord)]
    outcome: String,
    /// The finer cause, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(value_type = BilledWord)]
    billed: String,
    duration_ms: u64,
}

/// One call that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallOnRecord {
    #[serde(flatten)]
    attempt: AttemptOnRecord,
    /// When it had ended (RFC 3339, UTC).
    #[schema(format = DateTime)]
    ended_at: String,
    /// The provider's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider_request_id: Option<String>,
    /// What it cost, or at most costs if it is billed, in millionths of a yuan.
    price_micro_yuan: u64,
    /// Whether it came after its attempt had been given up.
    late: bool,
}

/// A page of the ledger, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page {
    /// At most 100. Filters that match little may leave fewer, even none, before the end: go on with `next_cursor`.
    pub(in crate::server) verifications: Vec<Verification>,
    /// Where the next page begins. Only the last page has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::server) next_cursor: Option<String>,
    /// Replicas whose latest answers may be missing here: they do not reach the record, or do not run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(in crate::server) behind: Vec<Behind>,
}

/// A replica whose latest answers may be missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct Behind {
    /// Its name.
    replica: String,
    /// The time up to which all its answers are here (RFC 3339).
    #[schema(format = DateTime)]
    since: String,
}

impl From<(String, i64)> for Behind {
    fn from((replica, since_ms): (String, i64)) -> Self {
        let since = jiff::Timestamp::from_millisecond(since_ms).unwrap_or_default();
        Self { replica, since: format!("{since:.3}") }
    }
}

/// Which answers are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the documented form of what `Query::parse` reads")]
pub struct PageQuery {
    /// Those with this reference.
    #[param(required = false, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    reference: String,
    /// Not before (RFC 3339).
    #[param(required = false, format = DateTime)]
    from: String,
    /// Before (RFC 3339).
    #[param(required = false, format = DateTime)]
    to: String,
    /// By this provider. A name that is neither configured nor built in is refused.
    #[param(required = false, min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$")]
    provider: String,
    /// With this verdict.
    #[param(required = false, value_type = VerdictWord)]
    verdict: String,
    /// `next_cursor` of the page before.
    #[param(required = false, min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// Where to begin.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the documented form of what `Query::parse` reads")]
pub struct CursorQuery {
    /// `next_cursor` of the page before.
    #[param(required = false, min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// A person. In a body, so that no log of an address has them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the documented form of what `VerifyBody::parse` reads")]
pub struct SearchRequest {
    /// As on the ID card.
    #[schema(example = "张三", min_length = 1)]
    name: String,
    /// 18 characters (15 are converted).
    #[schema(example = "11010519491231002X", min_length = 1)]
    id_number: String,
}

pub(in crate::server) fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

impl From<Answer> for Verification {
    fn from(answer: Answer) -> Self {
        let is_verdict = Verdict::ALL.iter().any(|verdict| verdict.as_str() == answer.outcome);
        let (verdict, code) = if is_verdict { (Some(answer.outcome), None) } else { (None, Some(answer.outcome)) };
        let attempts = answer.attempts.into_iter().map(|attempt| AttemptOnRecord {
            provider: attempt.provider,
            endpoint: attempt.endpoint,
            outcome: attempt.outcome,
            reason: attempt.reason,
            billed: attempt.billed,
            duration_ms: attempt.duration_ms,
        });
        Self {
            verification_id: answer.id,
            answered_at: at(answer.at_ms),
            client: answer.client,
            purpose: answer.purpose,
            reference: answer.reference,
            verdict,
            code,
            source: answer.source,
            provider: answer.provider,
            provider_request_id: answer.provider_request_id,
            verified_at: answer.verified_at_ms.map(at),
            attempts: attempts.collect(),
            configuration: answer.configuration,
            calls: None,
            cost_micro_yuan: None,
            possible_cost_micro_yuan: None,
        }
    }
}

impl From<Call> for CallOnRecord {
    fn from(Call { at_ms, provider, endpoint, end, .. }: Call) -> Self {
        let (outcome, reason, billed, duration_ms) = (end.outcome, end.reason, end.billed, end.duration_ms);
        Self {
            attempt: AttemptOnRecord { provider, endpoint, outcome, reason, billed, duration_ms },
            ended_at: at(at_ms),
            provider_request_id: end.provider_request_id,
            price_micro_yuan: end.price_micro_yuan,
            late: end.late,
        }
    }
}
