//! For operators, on a listener of its own: alive, ready, metrics, status, isolate and restore, the API's page.
//!
//! Every route asks for an operator, but for those of [`OPEN`](super::auth::operators::OPEN); a handler that acts takes the
//! `Extension<Arc<Operator>>` and logs its name.
//!
//! Invariant: nothing here ever calls a provider. Ready means "this process takes requests"; a provider or a store that is
//! down is in `/v1/status` and in metrics, and does not take the instance out of the load balancer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{StatusCode, header};
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::auth::operators::Operator;
use super::http::{code::Code, problem::Problem};
use super::snapshot::Current;
use super::{listener, reload};
use crate::providers::source::Miss;
use crate::verify::{CredentialStatus, EndpointStatus, ProviderStatus};

/// What the admin listener is built on.
#[derive(Debug)]
pub struct Admin {
    /// The configuration at work.
    pub current: Current,
    /// All metrics of this gateway.
    pub registry: Registry,
    /// The connections of its listeners.
    pub connections: listener::Metrics,
    /// Asks for a reload of the configuration.
    pub reloads: reload::Requests,
    /// Cancelled when the process begins to go down.
    pub draining: CancellationToken,
}

/// Whether this process is alive, or takes requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `live`, `ready` or `draining`.
    #[schema(example = "ready")]
    status: &'static str,
}

/// Everything that answers "why is this provider out?".
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ready` or `draining`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The version of this build.
    version: &'static str,
    /// Questions being worked on.
    flights: usize,
    /// The providers that have a section.
    providers: Vec<ProviderDocument>,
}

/// One provider as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderDocument {
    name: String,
    driver: &'static str,
    /// Whether it could be asked now.
    available: bool,
    /// Whether an operator has set it aside.
    isolated: bool,
    /// The account fault that sets it aside.
    account_fault: Option<AccountFaultDocument>,
    /// Its fetched credential; null where the configuration has it.
    credential: Option<CredentialDocument>,
    /// Seconds for which it asked us to pause.
    paused_seconds: Option<f64>,
    /// Calls in flight.
    in_flight: usize,
    /// Persons held off it.
    holds: usize,
    endpoints: Vec<EndpointDocument>,
}

/// An account fault as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountFaultDocument {
    /// What is wrong, such as `arrears` or `key_refused`.
    reason: &'static str,
    since_seconds: f64,
    /// Seconds until the next trial.
    retry_after_seconds: f64,
}

/// A fetched credential as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialDocument {
    /// Where it comes from, as configured.
    #[schema(example = "default_chain")]
    source: &'static str,
    /// Which of several sources gave the one in use.
    from: Option<&'static str>,
    /// Seconds for which the one in use is still good; null if there is none, or it does not end.
    expires_in_seconds: Option<f64>,
    /// Why the last fetch gave nothing; empty if it gave something.
    failures: Vec<MissDocument>,
}

/// A source that gave no credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissDocument {
    source: &'static str,
    /// Such as `unreachable`, `not_success` or `missing_field`.
    reason: &'static str,
    /// The documented code with which it refused.
    code: Option<&'static str>,
}

/// One endpoint's breaker as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointDocument {
    endpoint: String,
    /// `closed` (flowing), `half_open` (probing) or `open` (refusing).
    #[schema(example = "closed")]
    breaker: &'static str,
    since_seconds: f64,
    /// Why it left the closed state.
    reason: Option<&'static str>,
    /// Seconds until it lets the next call through.
    retry_after_seconds: Option<f64>,
    /// The last fault that its breaker counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_fault: Option<LastFaultDocument>,
}

/// A fault that an endpoint's breaker counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastFaultDocument {
    /// What the attempt came to, such as `unreachable`.
    outcome: &'static str,
    /// The finer cause, such as `certificate_refused` or `pin_mismatch`, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Seconds ago.
    since_seconds: f64,
}

/// Whether this process runs.
#[utoipa::path(get, path = "/livez", tag = "operate", responses((status = 200, description = "It does", body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

/// Whether this process takes requests. Says nothing about providers.
#[utoipa::path(get, path = "/readyz", tag = "operate", responses(
    (status = 200, description = "It does", body = Health),
    (status = 503, description = "It is going down", body = Health),
))]
pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let status = admin.word();
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Health { status })).into_response()
}

/// All metrics, in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "docs/operations.md lists them", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.current.load().live.refresh_metrics();
    admin.connections.refresh();
    let encoder = TextEncoder::new();
    let mut text = Vec::with_capacity(16 * 1024);
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(_) => Problem::new(Code::Internal).into_response(),
    }
}

/// Why is this provider out? Breakers, account faults, holds, calls in flight.
#[utoipa::path(get, path = "/v1/status", tag = "operate", responses((status = 200, description = "Now", body = Status)))]
pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Json<Status> {
    let live = &admin.current.load().live;
    Json(Status {
        status: admin.word(),
        version: env!("CARGO_PKG_VERSION"),
        flights: live.flights(),
        providers: live.status().iter().map(ProviderDocument::from).collect(),
    })
}

/// Keeps a provider out of the chain, until it is restored or the process ends.
#[utoipa::path(post, path = "/v1/providers/{provider}/isolate", tag = "operate",
    params(("provider" = String, Path, description = "A name of a `[providers.NAME]` section")),
    responses(
        (status = 204, description = "Done"),
        (status = 404, description = "There is no such provider", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn isolate(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
) -> Response {
    let live = &admin.current.load().live;
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
pub(super) async fn restore(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    provider: Result<Path<String>, PathRejection>,
) -> Response {
    let live = &admin.current.load().live;
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

impl Admin {
    fn word(&self) -> &'static str {
        if self.draining.is_cancelled() { "draining" } else { "ready" }
    }
}

impl From<&ProviderStatus> for ProviderDocument {
    fn from(status: &ProviderStatus) -> Self {
        Self {
            name: status.name.to_string(),
            driver: status.driver,
            available: status.available,
            isolated: status.isolated,
            account_fault: status.account_fault.map(|fault| AccountFaultDocument {
                reason: fault.reason.as_str(),
                since_seconds: seconds(fault.since),
                retry_after_seconds: seconds(fault.retry_after),
            }),
            credential: status.credential.as_ref().map(CredentialDocument::from),
            paused_seconds: status.paused_for.map(seconds),
            in_flight: status.in_flight,
            holds: status.holds,
            endpoints: status.endpoints.iter().map(EndpointDocument::from).collect(),
        }
    }
}

impl From<&CredentialStatus> for CredentialDocument {
    fn from(status: &CredentialStatus) -> Self {
        let miss = |miss: &Miss| MissDocument { source: miss.source, reason: miss.trouble.as_str(), code: miss.code };
        Self {
            source: status.source,
            from: status.from,
            expires_in_seconds: status.expires_in.map(seconds),
            failures: status.misses.iter().map(miss).collect(),
        }
    }
}

impl From<&EndpointStatus> for EndpointDocument {
    fn from(status: &EndpointStatus) -> Self {
        Self {
            endpoint: status.endpoint.to_string(),
            breaker: status.state.as_str(),
            since_seconds: seconds(status.since),
            reason: status.reason.map(|reason| reason.as_str()),
            retry_after_seconds: status.retry_after.map(seconds),
            last_fault: status.last_fault.map(|fault| LastFaultDocument {
                outcome: fault.outcome.as_str(),
                reason: fault.reason.is_specific().then(|| fault.reason.as_str()),
                since_seconds: seconds(fault.since),
            }),
        }
    }
}

/// To the millisecond, which is all that anybody wants to read.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
