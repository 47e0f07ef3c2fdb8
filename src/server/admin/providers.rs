//! Isolates and restores providers.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::state::Admin;
use crate::server::auth::operators::Operator;
use crate::server::http::{code::Code, problem::Problem};
use crate::verify::ProviderStatus;

/// Keeps a provider out of the chain, until it is restored or the process ends.
#[utoipa::path(post, path = "/v1/providers/{provider}/isolate", tag = "operate",
    params(("provider" = String, Path, description = "A name of a `[providers.NAME]` section")),
    responses(
        (status = 204, description = "Done"),
        (status = 404, description = "There is no such provider", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(in crate::server) async fn isolate(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
) -> Response {
    let live = &admin.current.load().runtime;
    let provider = provider.map(|Path(provider)| provider).unwrap_or_default();
    if !live.isolate(&provider) {
        return unknown_provider(&live.status());
    }
    tracing::warn!(provider, operator = %operator.name, "isolated by an operator");
    StatusCode::NO_CONTENT.into_response()
}

/// Ends an isolation, an account fault's interval and the open breakers of a provider.
#[utoipa::path(post, path = "/v1/providers/{provider}/restore", tag = "operate",
    params(("provider" = String, Path, description = "A name of a `[providers.NAME]` section")),
    responses(
        (status = 204, description = "Done"),
        (status = 404, description = "There is no such provider", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(in crate::server) async fn restore(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
) -> Response {
    let live = &admin.current.load().runtime;
    let provider = provider.map(|Path(provider)| provider).unwrap_or_default();
    if !live.restore(&provider) {
        return unknown_provider(&live.status());
    }
    tracing::warn!(provider, operator = %operator.name, "restored by an operator");
    StatusCode::NO_CONTENT.into_response()
}

fn unknown_provider(known: &[ProviderStatus]) -> Response {
    let names: Vec<_> = known.iter().map(|provider| &*provider.name).collect();
    let detail = format!("there is no such provider; configured are: {}", names.join(", "));
    Problem::new(Code::NotFound).with_error("", "unknown_provider", &detail).into_response()
}
