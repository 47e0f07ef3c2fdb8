//! `POST /v1/reload`: rereads the configuration. If it has mistakes, nothing changes and the response lists all of
//! them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::state::Admin;
use crate::server::auth::operators::Operator;
use crate::server::http::code::Code;
use crate::server::http::operation_body::{self, ReasonRequest};
use crate::server::http::problem::{MemberError, Problem, Refused, SOON};
use crate::server::reload::Reloaded;

/// The problems that only this one can return.
pub(in crate::server) const PROBLEMS: [Code; 5] = [
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidConfiguration,
    Code::ShuttingDown,
];

/// Reads the configuration again; a mistake in it changes nothing.
#[utoipa::path(post, path = "/v1/reload", tag = "operate", request_body(content = Option<ReasonRequest>), responses(
    (status = 200, description = "Done; what is different now", body = Reloaded),
))]
pub(in crate::server) async fn reload(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let reason = operation_body::reason(&parts.headers, body).await?;
    tracing::info!(operator = %operator.name, reason, "asked to reload");
    Ok(match admin.reloads.ask(Arc::clone(&operator.name), reason).await {
        Some(Ok(reloaded)) => Json(reloaded).into_response(),
        Some(Err(mistakes)) => {
            let error = |detail| MemberError { pointer: String::new(), reason: "mistake", detail };
            let errors = mistakes.into_iter().map(error).collect();
            Problem::new(Code::InvalidConfiguration).with_errors(errors).into_response()
        }
        None => Problem::new(Code::ShuttingDown).with_retry_after(SOON).into_response(),
    })
}
