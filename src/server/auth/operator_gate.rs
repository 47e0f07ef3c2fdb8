//! The first step of every request on the admin listener: checks the header size, refuses what a browser sends for a
//! foreign page, and identifies the operator.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::pin::pin;

use super::browsers;
use super::operators::{OPEN, is_for_everybody, is_page};
use crate::domain::clock::Clock;
use crate::server::http::code::Code;
use crate::server::http::problem::Problem;
use crate::server::http::recorder::Recorder;
use crate::server::http::request_scope::{RequestScope, caught};
use crate::server::http::{headers, page_headers, unambiguous};
use crate::server::snapshot::Current;

/// Polled by probes and scrapers; a log line for each request would be noise.
const POLLED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

#[derive(Debug, Clone)]
pub struct OperatorGate {
    /// The active configuration.
    pub current: Current,
    pub recorder: Recorder,
    pub clock: Clock,
    /// The maximum size of the request head, in bytes.
    pub max_header_bytes: usize,
}

/// Creates the request scope and admits operators. The [`OPEN`] routes and the pages need no operator.
pub(in crate::server) async fn pass(State(gate): State<OperatorGate>, mut request: Request, next: Next) -> Response {
    let mut scope = RequestScope::admin(&gate.recorder, &POLLED, &request);
    let result = caught(pin!(async {
        if headers::size(request.method(), request.uri(), request.headers()) > gate.max_header_bytes {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        let now = gate.current.load();
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        unambiguous::check(uri, headers)?;
        if !OPEN.contains(&uri.path()) {
            if now.operators.is_open_to_all() {
                now.hosts.check(uri, headers)?;
            }
            browsers::check_origin(method, uri, headers, is_page(uri.path()))?;
        }
        if !is_for_everybody(method, uri.path()) {
            let operators = &now.operators;
            let operator = operators.identify(request.headers(), request.extensions(), gate.clock.now())?;
            scope.is_operated_by(&operator);
            request.extensions_mut().insert(operator);
        }
        request.extensions_mut().insert(scope.request_id());
        Ok(next.run(request).await)
    }))
    .await;
    page_headers::add(scope.respond(result))
}
