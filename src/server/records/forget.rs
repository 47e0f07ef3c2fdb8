//! `POST /v1/subjects/forget`, on the admin listener: erases everything about a person.
//!
//! Invariants: neither the response nor the log identifies the person; both say how much was found. Nothing here calls
//! a provider. This instance is searched, its memory and its ledger; the replicas that share a Redis with it are told,
//! and the response names those that have not confirmed it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::subject::Digest;
use crate::server::auth::operators::Operator;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::code::Code;
use crate::server::http::operation_body::check_reason;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::request_scope::RequestId;
use crate::server::http::{body, headers};
use crate::server::idempotency::{Idempotency, not_before};
use crate::server::pipeline::{self, Pipeline};
use crate::storage::ledger;
use crate::verify::Forgotten;

/// State of the handler.
#[derive(Debug)]
pub struct Forget {
    /// The request pipeline, which also holds the ledger.
    pub pipeline: Arc<Pipeline>,
    /// The idempotency keys in memory.
    pub idempotency: Idempotency,
}

/// The problems that only this route can return.
pub(in crate::server) const PROBLEMS: [Code; 6] = [
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidName,
    Code::InvalidIdNumber,
    Code::LedgerUnavailable,
];

/// The person to be forgotten. Unknown members are refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the documented form of what `VerifyBody::parse_subject` reads")]
pub(in crate::server) struct ForgetRequest {
    /// As on the ID card.
    #[schema(example = "张三", min_length = 1)]
    name: String,
    /// 18 characters (15 are converted).
    #[schema(example = "11010519491231002X", min_length = 1)]
    id_number: String,
    /// For the ledger: at most 200 printable ASCII characters. No person: ID numbers are refused.
    #[schema(example = "request of 2026-11-28", min_length = 1, max_length = 200)]
    reason: Option<String>,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct ForgetReply {
    /// How much was found.
    forgotten: ForgottenDocument,
    /// The replicas that share a Redis with this one; absent if nothing is shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    replicas: Option<ReplicasToldDocument>,
}

/// The replicas that there are, and those that have forgotten.
#[derive(Debug, Serialize, ToSchema)]
struct ReplicasToldDocument {
    /// How many there are, with this one.
    of: usize,
    /// How many have forgotten, with this one.
    told: usize,
    /// The others, by name. They are silent, cut off or slow, and may still remember: ask again.
    #[schema(example = json!(["idgate-2"]))]
    unconfirmed: Vec<String>,
}

type Told = (ForgottenDocument, Option<ReplicasToldDocument>);

/// How much was found about the person, all clients' and purposes' together.
#[derive(Debug, Serialize, ToSchema)]
struct ForgottenDocument {
    /// Remembered verdicts.
    verdicts: usize,
    /// Providers that the person was held off, or had been asked at.
    holds: usize,
    /// Tries that the enumeration guard had counted for the number.
    tries: usize,
    /// Idempotency keys with their answers.
    replays: usize,
    /// Questions and late calls under way: who waits is answered, and nothing is remembered.
    under_way: usize,
}

/// Forgets a person: remembered verdicts, holds, counted tries, idempotency keys, and what is about to be remembered.
///
/// Forgetting a hold lets the person be sent to a provider again that has called it "repeated"; the provider may then
/// refuse it for longer. What is not here cannot be forgotten here: request lines (which have no name and no number),
/// the providers' own records, and, where nothing is shared,
/// what other instances remember. After `ledger_unavailable` what memory knew is gone, but
/// idempotency keys may come back with a restart: ask again.
#[utoipa::path(post, path = "/v1/subjects/forget", tag = "operate",
    request_body(content = ForgetRequest),
    responses(
        (status = 200, description = "Done, also if nothing was known", body = ForgetReply, headers(
            ("X-Request-Id" = String, description = "The id of this request, as logged"),
        )),
    )
)]
pub(in crate::server) async fn forget(
    State(forget): State<Arc<Forget>>,
    Extension(operator): Extension<Arc<Operator>>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> Result<Json<ForgetReply>, Refused> {
    let (forgotten, replicas) = forget_person(&forget, request, &operator).await?;
    let ForgottenDocument { verdicts, holds, tries, replays, under_way } = forgotten;
    tracing::warn!(
        %request_id, operator = %operator.name, verdicts, holds, tries, replays, under_way, "a person was forgotten"
    );
    Ok(Json(ForgetReply { forgotten, replicas }))
}

async fn forget_person(forget: &Forget, request: Request, operator: &Operator) -> Result<Told, Refused> {
    let Forget { pipeline, idempotency } = forget;
    let (parts, body) = request.into_parts();
    headers::require_json(&parts.headers)?;
    let now = pipeline.current.load();
    let bytes = body::read(body, now.limits.max_body_bytes, now.limits.body_timeout).await?;
    let (name, id_number, reason) = VerifyBody::parse_subject(&bytes)
        .map_err(|errors| Box::new(Problem::new(Code::MalformedRequest).with_errors(errors)))?;
    let reason = check_reason(reason)?;
    let subject = pipeline::subject(now.rules, pipeline.clock.today_in_china(), &name, &id_number)?;
    let person = pipeline.digest_key.person(&subject);
    // Questions in progress come first: from here on they cache no verdict, and their idempotency keys are erased
    // below.
    let Forgotten { verdicts, holds, tries, under_way, replicas } = now.runtime.forget(&subject).await;
    let kept = forget_claims(pipeline, &person, operator, reason).await;
    // After the ledger, so that no key is loaded from there again. Runs even if the ledger failed.
    let replays = idempotency.forget(person).max(kept?);
    let replicas = replicas.map(|(of, unconfirmed)| {
        let told = of.saturating_sub(unconfirmed.len());
        ReplicasToldDocument { of, told, unconfirmed }
    });
    Ok((ForgottenDocument { verdicts, holds, tries, replays, under_way }, replicas))
}

/// Ends the idempotency claims about a person in the ledger, and returns how many there were.
async fn forget_claims(
    pipeline: &Pipeline,
    person: &Digest,
    operator: &Operator,
    reason: Option<String>,
) -> Result<usize, Refused> {
    let ledger = &pipeline.ledger;
    if !ledger.is_on() {
        return Ok(0);
    }
    let subject = pipeline.in_ledger(person);
    let claims = ledger.claims_about(&subject, not_before(&pipeline.clock)).await;
    // If they cannot be counted, they are ended all the same.
    let claims = claims.inspect_err(|error| tracing::error!(%error, "ledger: keys cannot be counted"));
    let forgotten = ledger.forget(|id, at_ms| ledger::Forgotten {
        id,
        at_ms,
        client: String::new(),
        outcome: "forgotten".to_owned(),
        subject,
        operator: operator.name.to_string(),
        reason,
    });
    match forgotten.await {
        Ok(()) => Ok(claims.unwrap_or_default()),
        Err(ledger::NotWritten) => Err(Box::new(Problem::new(Code::LedgerUnavailable).with_retry_after(SOON))),
    }
}
