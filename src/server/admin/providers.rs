//! Isolates and restores providers. Both work while the ledger does not; both are recorded there.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::state::Admin;
use crate::server::auth::operators::Operator;
use crate::server::http::code::Code;
use crate::server::http::operation_body::{self, Isolate, IsolateRequest, ReasonRequest};
use crate::server::http::problem::{Problem, Refused};
use crate::storage::ledger::Operation;
use crate::verify::{Isolated, ProviderStatus};

/// The problems that only these two can return.
pub(in crate::server) const PROBLEMS: [Code; 4] =
    [Code::NotFound, Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType];

/// Keeps a provider out of the chain until it is restored, or until the time that is said. With a ledger, a restart does
/// not end it.
#[utoipa::path(post, path = "/v1/providers/{provider}/isolate", tag = "operate",
    params(("provider" = String, Path, description = "A name of a `[providers.NAME]` section")),
    request_body(content = Option<IsolateRequest>),
    responses(
        (status = 204, description = "Done", headers(
            ("X-Survives-Restart" = String, description = "`true` once the ledger has it; `false` without a ledger, or \
                while it cannot be written: then it is recorded when it can be"),
        )),
    )
)]
pub(in crate::server) async fn isolate(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let now = admin.clock.now();
    let Isolate { reason, until } = operation_body::isolate(&parts.headers, body, now).await?;
    let live = &admin.current.load().runtime;
    let provider = provider.map(|Path(provider)| provider).unwrap_or_default();
    let by = Arc::clone(&operator.name);
    let isolated = Isolated { by, reason: reason.as_deref().map(Arc::from), since: now, until };
    // Before it is recorded, which may take a while.
    if !live.isolate(&provider, isolated.clone()) {
        return Ok(unknown_provider(&live.status()));
    }
    live.decided(&provider, now, Some(&isolated));
    let ends = until.map(tracing::field::display);
    tracing::warn!(provider, operator = %operator.name, reason, until = ends, "isolated by an operator");
    let until_ms = until.map(Timestamp::as_millisecond);
    let operation = Operation { until_ms, ..about("isolate", "isolated", &provider, &operator, reason) };
    Ok(recorded(admin.ledger.record(|id, at_ms| Operation { id, at_ms, ..operation }).await))
}

/// Ends an isolation, an account fault's interval and the open breakers of a provider.
#[utoipa::path(post, path = "/v1/providers/{provider}/restore", tag = "operate",
    params(("provider" = String, Path, description = "A name of a `[providers.NAME]` section")),
    request_body(content = Option<ReasonRequest>),
    responses(
        (status = 204, description = "Done", headers(
            ("X-Survives-Restart" = String, description = "As for isolate"),
        )),
    )
)]
pub(in crate::server) async fn restore(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let reason = operation_body::reason(&parts.headers, body).await?;
    let live = &admin.current.load().runtime;
    let provider = provider.map(|Path(provider)| provider).unwrap_or_default();
    if !live.restore(&provider) {
        return Ok(unknown_provider(&live.status()));
    }
    live.decided(&provider, admin.clock.now(), None);
    tracing::warn!(provider, operator = %operator.name, reason, "restored by an operator");
    let operation = about("restore", "restored", &provider, &operator, reason);
    Ok(recorded(admin.ledger.record(|id, at_ms| Operation { id, at_ms, ..operation }).await))
}

fn about(action: &str, outcome: &str, provider: &str, operator: &Operator, reason: Option<String>) -> Operation {
    Operation {
        outcome: outcome.to_owned(),
        action: action.to_owned(),
        operator: operator.name.to_string(),
        reason,
        provider: Some(provider.to_owned()),
        ..Operation::default()
    }
}

fn recorded(is_kept: bool) -> Response {
    let survives = HeaderValue::from_static(if is_kept { "true" } else { "false" });
    (StatusCode::NO_CONTENT, [(HeaderName::from_static("x-survives-restart"), survives)]).into_response()
}

fn unknown_provider(known: &[ProviderStatus]) -> Response {
    let names: Vec<_> = known.iter().map(|provider| &*provider.name).collect();
    let detail = format!("there is no such provider; configured are: {}", names.join(", "));
    Problem::new(Code::NotFound).with_error("", "unknown_provider", &detail).into_response()
}
