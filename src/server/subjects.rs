//! What operators may do about a person: `POST /v1/subjects/forget`, on their own listener.
//!
//! Invariant: neither the answer nor the log tells whom it was about; both tell how much was found. Nothing here calls a
//! provider. What a configuration has brought is found by its keys, so what was remembered by another process is not.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::Api;
use super::api::handler::SOON;
use super::api::idempotency::not_before;
use super::auth::operators::Operator;
use super::http::body_reader::VerifyBody;
use super::http::{code::Code, headers, problem::Problem};
use crate::domain::subject::Subject;
use crate::storage::ledger;
use crate::verify::Forgotten;

/// The person to be forgotten. Unknown members are refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the documented form of what `VerifyBody::parse_subject` reads")]
pub(super) struct ForgetRequest {
    /// As on the ID card.
    #[schema(example = "张三", min_length = 1)]
    name: String,
    /// 18 characters (15 are converted).
    #[schema(example = "11010519491231002X", min_length = 1)]
    id_number: String,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForgetReply {
    /// How much was found.
    forgotten: ForgottenDocument,
}

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

/// The routes about persons, for the admin listener.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().route("/v1/subjects/forget", post(forget)).with_state(api)
}

/// Forgets a person: remembered verdicts, holds, counted tries, idempotency keys, and what is about to be remembered.
///
/// Forgetting a hold lets the person be sent to a provider again that has called it "repeated"; the provider may then
/// refuse it for longer. What is not here cannot be forgotten here: request lines (which have no name and no number),
/// the providers' own records, what other instances remember.
#[utoipa::path(post, path = "/v1/subjects/forget", tag = "operate",
    request_body(content = ForgetRequest),
    responses(
        (status = 200, description = "Done, also if nothing was known", body = ForgetReply, headers(
            ("X-Request-Id" = String, description = "The id of this request, as logged"),
        )),
        (status = 400, description = "`malformed_request`", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "`invalid_name`, `invalid_id_number`: nobody can be remembered by these",
            body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`ledger_unavailable`: what memory knew is gone, but idempotency keys may come back \
            with a restart; ask again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Response {
    let request_id = api.request_id(request.headers());
    let mut response = match forgotten(&api, request, &operator).await {
        Ok(forgotten) => {
            let ForgottenDocument { verdicts, holds, tries, replays, under_way } = forgotten;
            tracing::warn!(request_id, operator = %operator.name, verdicts, holds, tries, replays, under_way, "a person was forgotten");
            Json(ForgetReply { forgotten }).into_response()
        }
        Err(problem) => problem.to_response(&request_id),
    };
    response.headers_mut().insert(headers::X_REQUEST_ID, headers::value(&request_id));
    response
}

async fn forgotten(api: &Api, request: Request, operator: &Operator) -> Result<ForgottenDocument, Box<Problem>> {
    let (parts, body) = request.into_parts();
    if !headers::is_json(&parts.headers) {
        return Err(Box::new(Problem::new(Code::UnsupportedMediaType)));
    }
    let now = api.current.load();
    let bytes = api.read(body, now.limits).await?;
    let (name, id_number) = VerifyBody::parse_subject(&bytes)
        .map_err(|errors| Box::new(Problem::new(Code::MalformedRequest).with_errors(errors)))?;
    let subject = api.subject(&now, &name, &id_number)?;
    // Work under way is told first: a request that ends in between finds its key gone, and its verdict is not kept.
    let Forgotten { verdicts, holds, tries, under_way } = now.live.forget(&subject).await;
    let kept = forget_claims(api, &subject, operator).await;
    // After the ledger, so that no key is found there again; and also if that failed.
    let replays = api.idempotency.forget(api.digest_key.person(&subject)).await.max(kept?);
    Ok(ForgottenDocument { verdicts, holds, tries, replays, under_way })
}

/// Ends the claims about a person in the ledger; how many there were.
async fn forget_claims(api: &Api, subject: &Subject, operator: &Operator) -> Result<usize, Box<Problem>> {
    let Some(subject) = api.in_ledger(subject) else { return Ok(0) };
    let claims = api.ledger.claims_about(&subject, not_before(&api.clock)).await;
    // They end without being counted, too.
    let claims = claims.inspect_err(|error| tracing::error!(%error, "ledger: keys cannot be counted"));
    let forgotten = api.ledger.forget(|id, at_ms| ledger::Forgotten {
        id,
        at_ms,
        client: String::new(),
        outcome: "forgotten".to_owned(),
        subject,
        operator: operator.name.to_string(),
    });
    match forgotten.await {
        Ok(()) => Ok(claims.unwrap_or_default()),
        Err(ledger::NotWritten) => Err(Box::new(Problem::new(Code::LedgerUnavailable).with_retry_after(SOON))),
    }
}
