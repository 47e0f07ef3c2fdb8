//! Liveness, readiness and metrics.
//!
//! Ready means that this process accepts requests. A provider or store that is down shows in `/v1/status` and in the
//! metrics, but does not take the instance out of the load balancer.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use utoipa::ToSchema;

use super::state::Admin;
use crate::server::http::{code::Code, problem::Problem};

/// Whether this process is alive, or takes requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `live`, `starting`, `ready` or `draining`.
    #[schema(example = "ready")]
    status: &'static str,
}

/// The routes of the admin listener until the gateway is built, which opens its ledger first.
pub fn starting() -> Router {
    let starting = async || {
        let soon = [(header::RETRY_AFTER, "1")];
        (StatusCode::SERVICE_UNAVAILABLE, soon, Json(Health { status: "starting" }))
    };
    Router::new().route("/livez", get(livez)).fallback(starting)
}

/// Whether this process runs.
#[utoipa::path(get, path = "/livez", tag = "operate", responses((status = 200, description = "It does", body = Health)))]
pub(in crate::server) async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

/// Whether this process takes requests. Says nothing about providers.
#[utoipa::path(get, path = "/readyz", tag = "operate", responses(
    (status = 200, description = "It does", body = Health),
    (status = 503, description = "It is starting (the ledger is being opened), or going down", body = Health),
))]
pub(in crate::server) async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let status = admin.word();
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status })).into_response()
}

/// All metrics, in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "docs/operations.md lists them", body = String, content_type = "text/plain"),
))]
pub(in crate::server) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.current.load().runtime.refresh_metrics();
    admin.connections.refresh();
    let encoder = TextEncoder::new();
    let mut text = Vec::with_capacity(16 * 1024);
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => Problem::new(Code::Internal).into_response(),
    }
}
