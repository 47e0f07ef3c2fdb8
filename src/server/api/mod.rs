//! `POST /v1/verify` for other services: bytes to a question, an answer or a problem to bytes.
//!
//! The order is the contract: shed, authenticate, limit, parse, check locally (free), then ask. Whatever happens, the
//! answer is JSON of ours, the request is counted once and logged once. To add a member or a header: `body` or
//! `headers`, then `openapi.yaml` (`idgate openapi` writes it).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use self::idempotency::Idempotency;
use super::http::access_log::{AccessLog, Line};
use super::snapshot::Current;
use crate::domain::clock::{Clock, Ids};
use crate::domain::id_number::Calendar;
use crate::domain::subject::{DigestKey, PairRules};
use crate::server::api::metrics::{NO_SOURCE, UNKNOWN};
use crate::server::http::headers;
use crate::server::http::{code::Code, problem::Problem};
use crate::server::records::{lookup, receipt};
use crate::storage::ledger::Ledger;

mod audit;
pub mod document;
pub mod handler;
pub mod idempotency;
pub mod metrics;
mod once;
pub(in crate::server) mod question;
pub mod reply;

pub(in crate::server) const ROUTE: &str = "/v1/verify";

/// Boxed, since an answer is the usual case and a problem is large.
pub(in crate::server) type Refused = Box<Problem>;

/// What the API is built on.
#[derive(Debug)]
pub struct Api {
    /// The configuration at work.
    pub current: Current,
    /// Claimed idempotency keys.
    pub idempotency: Idempotency,
    /// Digests of keys and bodies.
    pub digest_key: DigestKey,
    /// Requests that may be worked on at once.
    pub places: Semaphore,
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
    /// One line per request.
    pub access_log: AccessLog,
    /// One count per request.
    pub meter: metrics::Metrics,
    /// Calls avoided.
    pub verify_metrics: crate::verify::Metrics,
    /// Wall-clock time.
    pub clock: Clock,
    /// Request and verification ids.
    pub ids: Ids,
    /// Where answers are written down, and looked up.
    pub ledger: Ledger,
    /// Set when waiting has to end: the process goes down.
    pub last_call: CancellationToken,
}

/// The local rules for names and numbers.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How birth dates that no calendar knows are taken.
    pub calendar: Calendar,
    /// The rules for the pair.
    pub pair: PairRules,
}

/// The limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest wait for a verdict.
    pub request_timeout: Duration,
    /// The longest wait for the body.
    pub body_timeout: Duration,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

/// The public routes. What none of them serves goes to `elsewhere`.
pub fn router(api: Arc<Api>, elsewhere: Router) -> Router {
    let last_resort = Arc::clone(&api);
    Router::new()
        .route(ROUTE, post(handler::verify).fallback(only_post))
        .route(lookup::ROUTE_ALL, get(lookup::page).fallback(only_get))
        .route(lookup::ROUTE_ONE, get(lookup::one).fallback(only_get))
        .route(lookup::ROUTE_SEARCH, post(lookup::search).fallback(only_post))
        .route(receipt::ROUTE, get(receipt::receipt).fallback(only_get))
        .route(receipt::ROUTE_KEYS, get(receipt::published).fallback(only_get))
        .with_state(api)
        .fallback_service(elsewhere)
        // A question's own defects are caught in `verify`, where it is known. This is for what is left.
        .layer(CatchPanicLayer::custom(move |_panic| last_resort.defect()))
}

async fn only_post(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.refuse_method(&request, "POST")
}

async fn only_get(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.refuse_method(&request, "GET,HEAD")
}

impl Api {
    pub(in crate::server) fn refuse_method(&self, request: &Request, allowed: &'static str) -> Response {
        let mut response = self.refuse(request, Code::MethodNotAllowed);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    }

    /// Turns a request away that nobody here serves.
    pub(in crate::server) fn refuse<B>(&self, request: &http::Request<B>, code: Code) -> Response {
        let (method, all) = (request.method(), request.headers());
        let too_large = headers::size(method, request.uri(), all) > self.max_header_bytes;
        let code = if too_large { Code::HeadersTooLarge } else { code };
        self.turn_away(code, &self.request_id(all), method_of(method), headers::trace_id(all))
    }

    /// The answer to a request that came to grief outside of its handler; nothing is known of it any more.
    pub(in crate::server) fn defect(&self) -> Response {
        self.turn_away(Code::Internal, &self.ids.ordered().to_string(), "OTHER", None)
    }

    pub(in crate::server) fn turn_away(
        &self,
        code: Code,
        request_id: &str,
        method: &str,
        trace_id: Option<&str>,
    ) -> Response {
        let mut response = Problem::new(code).to_response(request_id);
        response.headers_mut().insert(headers::X_REQUEST_ID, headers::value(request_id));
        self.meter.request(UNKNOWN, UNKNOWN, code.status().as_str(), NO_SOURCE, 0.0, 0.0);
        self.access_log.write(&Line {
            time: format!("{:.3}", self.clock.now()),
            kind: "request",
            request_id,
            trace_id,
            method,
            route: "none",
            status: code.status().as_u16(),
            code: Some(code.as_str()),
            ..Line::default()
        });
        response
    }

    pub(in crate::server) fn request_id(&self, headers: &http::HeaderMap) -> String {
        headers::request_id(headers).unwrap_or_else(|| self.ids.ordered().to_string())
    }
}

/// The method for the log: a word from a closed set, since the caller can make up any.
pub(in crate::server) fn method_of(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::DELETE => "DELETE",
        http::Method::HEAD => "HEAD",
        http::Method::OPTIONS => "OPTIONS",
        http::Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}
