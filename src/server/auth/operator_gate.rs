//! The first step of every request on the admin listener: checks the header size, refuses what a browser sends for a
//! foreign page, and identifies the operator.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use std::pin::pin;
use std::sync::Arc;

use super::browsers;
use super::operators::{OPEN, Operator, is_console, is_for_everybody, is_page};
use super::roles::{Right, needed};
use super::sessions::Sessions;
use crate::domain::clock::Clock;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
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
    /// The sessions of the console, if there is one.
    pub sessions: Option<Arc<Sessions>>,
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
        let of_console = gate.sessions.as_ref().filter(|_| is_console(uri.path()));
        if !OPEN.contains(&uri.path()) {
            if now.operators.is_open_to_all() || of_console.is_some() {
                now.hosts.check(uri, headers)?;
            }
            browsers::check_origin(method, uri, headers, is_page(uri.path()) || of_console.is_some())?;
        }
        if let Some(sessions) = of_console {
            // Without a session the browser is sent to the sign-in page. The console checks the rights, and says so on a page.
            let found = sessions.find(headers, request.extensions(), &now.operators, gate.clock.now());
            if let Some((session, operator)) = found {
                scope.is_operated_by(&operator);
                request.extensions_mut().insert(session);
                request.extensions_mut().insert(operator);
            }
        } else if !is_for_everybody(method, uri.path()) {
            let operators = &now.operators;
            let operator = operators.identify(request.headers(), request.extensions(), gate.clock.now())?;
            scope.is_operated_by(&operator);
            check_right(&operator, method, uri.path())?;
            request.extensions_mut().insert(operator);
        }
        request.extensions_mut().insert(scope.request_id());
        Ok(next.run(request).await)
    }))
    .await;
    page_headers::add(scope.respond(result))
}

/// Refuses what none of the operator's roles may do.
fn check_right(operator: &Operator, method: &Method, path: &str) -> Result<(), Refused> {
    let right: Right = needed(method, path);
    if operator.roles.may(right) {
        return Ok(());
    }
    let detail = format!("needs the role {}; this operator has {}", right.of_whom(), operator.roles.words());
    Err(Box::new(Problem::new(Code::Forbidden).with_error("", "role", &detail)))
}
