//! One request, from its head to its end: its id, the one log line, the one count, the one ledger entry, and the waits
//! that are not our overhead.
//!
//! Invariant: a scope ends once, whatever happens. `RequestScope::answer` ends it with an answer or a problem;
//! dropped before that, the caller has left (status 499), or a handler has panicked (status 500). What a handler learns
//! of its request it adds here; it never writes a log line, a count or a refusal itself.
//!
//! To add a field to the log line: a member of [`Line`], and the place here that knows it.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use axum::response::Response;
use futures_util::FutureExt;
use http::{Extensions, HeaderMap, Method, StatusCode, header, request};
use tokio::time::Instant;

use super::access_log::Line;
use super::attempt;
use super::code::Code;
use super::headers;
use super::problem::{Problem, Refused};
use super::rate_limit::Allowance;
use super::recorder::{Audience, Recorder};
use crate::server::audit::AuditEntry;
use crate::server::auth::client::Caller;
use crate::server::auth::operators::Operator;

/// A request under way.
#[derive(Debug)]
pub(in crate::server) struct RequestScope {
    recorder: Recorder,
    audience: Audience,
    method: &'static str,
    route: Route,
    /// The driver whose protocol the request is in; none for our own.
    protocol: Option<&'static str>,
    request_id: String,
    trace_id: Option<String>,
    began: Instant,
    /// The part of the time since then that was spent waiting for others.
    waited: Duration,
    admitted: Option<(Caller, Option<Allowance>)>,
    operator: Option<Arc<Operator>>,
    reference: Option<String>,
    purpose: Option<Arc<str>>,
    /// The wait that the caller asked for and got.
    granted_wait: Option<Duration>,
    audit: Option<AuditEntry>,
    has_ended: bool,
}

/// The id of a request on the admin listener: an extension of the request, for handlers that log what they did.
#[derive(Debug, Clone)]
pub(in crate::server) struct RequestId(pub(in crate::server) Arc<str>);

/// The route in the log line: never what the caller sent.
#[derive(Debug)]
enum Route {
    Matched(MatchedPath),
    Named(&'static str),
}

/// What a request was answered with, for its log line and its headers.
pub(in crate::server) trait Answered {
    /// Adds what the log line says of the answer.
    fn describe<'a>(&'a self, _line: &mut Line<'a>) {}

    /// Adds the headers that only this answer has, before the response with this status leaves.
    fn add_headers(&self, _status: StatusCode, _headers: &mut HeaderMap) {}
}

/// An answer of which the log line says nothing more.
impl Answered for () {}

/// Adds the time since it was made to the waits of a request, when it is dropped.
pub(in crate::server) struct Waiting<'a> {
    since: Instant,
    total: &'a mut Duration,
}

/// How a request ended.
enum End<'a> {
    Answer(&'a dyn Answered),
    Problem(&'a Problem),
    CallerLeft,
}

/// A scope for the request of the route that was matched, on the public listener.
impl<S: Sync> FromRequestParts<S> for RequestScope
where
    Recorder: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Infallible> {
        let route = matched(&parts.extensions);
        Ok(Self::begin(&Recorder::from_ref(state), Audience::Services, &parts.method, route, &parts.headers))
    }
}

fn matched(extensions: &Extensions) -> Route {
    match extensions.get::<MatchedPath>() {
        Some(path) => Route::Matched(path.clone()),
        None => Route::Named("none"),
    }
}

impl RequestScope {
    fn begin(recorder: &Recorder, audience: Audience, method: &Method, route: Route, head: &HeaderMap) -> Self {
        let request_id = headers::request_id(head).unwrap_or_else(|| recorder.new_id());
        Self {
            recorder: recorder.clone(),
            audience,
            method: headers::method_word(method),
            route,
            protocol: None,
            request_id,
            trace_id: headers::trace_id(head).map(str::to_owned),
            began: Instant::now(),
            waited: Duration::ZERO,
            admitted: None,
            operator: None,
            reference: None,
            purpose: None,
            granted_wait: None,
            audit: None,
            has_ended: false,
        }
    }

    /// A scope for a request on the public listener that none of our routes serves.
    pub(in crate::server) fn unrouted<B>(recorder: &Recorder, request: &http::Request<B>) -> Self {
        Self::begin(recorder, Audience::Services, request.method(), Route::Named("none"), request.headers())
    }

    /// A scope for a request of which nothing is known: our own question, or one whose handler had a defect before it
    /// had a scope.
    pub(in crate::server) fn unknown(recorder: &Recorder, audience: Audience) -> Self {
        let mut scope = Self::begin(recorder, audience, &Method::GET, Route::Named("none"), &HeaderMap::new());
        scope.method = "OTHER";
        scope
    }

    /// A scope for a request on the admin listener; one to a `polled` route is not logged.
    pub(in crate::server) fn admin<B>(recorder: &Recorder, polled: &[&str], request: &http::Request<B>) -> Self {
        let route = matched(request.extensions());
        let audience = if polled.contains(&route.as_str()) { Audience::Probes } else { Audience::Operators };
        Self::begin(recorder, audience, request.method(), route, request.headers())
    }

    /// The id of the request: the caller's `X-Request-Id`, or one of ours.
    pub(in crate::server) fn request_id(&self) -> RequestId {
        RequestId(Arc::from(&*self.request_id))
    }

    /// Names the protocol, if it is a provider's, and the route that stands for it.
    pub(in crate::server) fn is_in_protocol(&mut self, driver: &'static str, route: &'static str) {
        self.protocol = Some(driver);
        self.route = Route::Named(route);
    }

    /// Adds who asks, and what is left of its rate.
    pub(in crate::server) fn is_admitted(&mut self, caller: Caller, allowance: Option<Allowance>) {
        self.admitted = Some((caller, allowance));
    }

    /// Adds the operator who asks.
    pub(in crate::server) fn is_operated_by(&mut self, operator: &Arc<Operator>) {
        self.operator = Some(Arc::clone(operator));
    }

    /// The caller, once it is known.
    pub(in crate::server) fn caller(&self) -> Option<&Caller> {
        self.admitted.as_ref().map(|(caller, _)| caller)
    }

    /// Adds the caller's own reference.
    pub(in crate::server) fn has_reference(&mut self, reference: Option<&str>) {
        self.reference = reference.map(str::to_owned);
    }

    /// Adds the purpose of the question, and the ledger entry that it owes from now on.
    pub(in crate::server) fn is_question(&mut self, purpose: &Arc<str>, audit: Option<AuditEntry>) {
        self.purpose = Some(Arc::clone(purpose));
        self.audit = audit;
    }

    /// Adds the wait that the caller asked for and got, to be confirmed in the answer.
    pub(in crate::server) fn is_granted_wait(&mut self, wait: Option<Duration>) {
        self.granted_wait = wait;
    }

    /// The ledger entry that the request owes.
    pub(in crate::server) fn audit(&mut self) -> Option<&mut AuditEntry> {
        self.audit.as_mut()
    }

    /// Hands the ledger entry over to whoever writes it; from now on the request owes none.
    pub(in crate::server) fn take_audit(&mut self) -> Option<AuditEntry> {
        self.audit.take()
    }

    /// Takes an entry back that could not be written.
    pub(in crate::server) fn owes(&mut self, audit: AuditEntry) {
        self.audit = Some(audit);
    }

    /// Begins a wait for others, which ends when the guard is dropped.
    pub(in crate::server) fn wait(&mut self) -> Waiting<'_> {
        Waiting { since: Instant::now(), total: &mut self.waited }
    }

    /// Ends the request: `write` makes the response of the result and the request's id.
    pub(in crate::server) fn answer<T: Answered>(
        mut self,
        result: &Result<T, Refused>,
        write: impl FnOnce(&str) -> Response,
    ) -> Response {
        let written = catch_unwind(AssertUnwindSafe(|| write(&self.request_id)));
        let defect = Problem::new(Code::Internal);
        let is_defect = written.is_err();
        let mut response = written.unwrap_or_else(|_| defect.to_response(&self.request_id));
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(headers::X_REQUEST_ID, headers::value(&self.request_id));
        if let Some((_, Some(allowance))) = &self.admitted {
            allowance.write(headers);
        }
        if let Ok(answer) = result {
            answer.add_headers(status, headers);
        }
        if let Some(wait) = self.granted_wait {
            headers.insert(headers::PREFERENCE_APPLIED, headers::value(&format!("wait={}", wait.as_secs())));
        }
        match result {
            _ if is_defect => self.end(status, &End::Problem(&defect)),
            Ok(answer) => self.end(status, &End::Answer(answer)),
            Err(problem) => self.end(status, &End::Problem(problem)),
        }
        response
    }

    /// Ends the request with a response, or with a problem (also one that a handler made a response of).
    pub(in crate::server) fn respond(self, result: Result<Response, Refused>) -> Response {
        let mut allow = None;
        let result = result.and_then(|mut response| match response.extensions_mut().remove::<Problem>() {
            Some(problem) => {
                allow = response.headers_mut().remove(header::ALLOW);
                Err(Box::new(problem))
            }
            None => Ok(response),
        });
        match result {
            Ok(response) => self.answer(&Ok(()), |_| response),
            Err(problem) => {
                let result = Err::<(), _>(problem.clone());
                let mut response = self.answer(&result, |request_id| problem.to_response(request_id));
                response.headers_mut().extend(allow.map(|methods| (header::ALLOW, methods)));
                response
            }
        }
    }

    /// Writes the log line, the count and, if it is still owed, the ledger entry.
    fn end(&mut self, status: StatusCode, end: &End<'_>) {
        self.has_ended = true;
        if let Some(audit) = self.audit.take() {
            match end {
                End::Problem(problem) => audit.refused(problem.code(), problem.attempts()),
                End::Answer(_) | End::CallerLeft => audit.refused(Code::OutcomeUnknown, &[]),
            }
        }
        let total = self.began.elapsed();
        let caller = self.caller();
        let mut line = Line {
            request_id: &self.request_id,
            trace_id: self.trace_id.as_deref(),
            method: self.method,
            route: self.route.as_str(),
            protocol: self.protocol,
            status: status.as_u16(),
            client: caller.map(|caller| &*caller.client.name),
            key_id: caller.map(|caller| &*caller.key_id).filter(|id| !id.is_empty()),
            operator: self.operator.as_ref().map(|operator| &*operator.name),
            certificate_id: caller.and_then(|caller| caller.certificate_id.as_deref()),
            purpose: self.purpose.as_deref(),
            reference: self.reference.as_deref(),
            ..Line::default()
        };
        match end {
            End::Answer(answer) => answer.describe(&mut line),
            End::Problem(problem) => {
                line.code = Some(problem.code().as_str());
                line.reason = problem.reason();
                line.attempts = attempt::in_short(problem.attempts());
            }
            End::CallerLeft => {}
        }
        self.recorder.record(self.audience, line, total, self.waited);
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        if std::thread::panicking() {
            self.end(Code::Internal.status(), &End::Problem(&Problem::new(Code::Internal)));
        } else {
            // The work goes on without the caller.
            self.end(client_closed_request(), &End::CallerLeft);
        }
    }
}

/// The status that logs use for a caller who left before the answer; it is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Runs a handler's work. A panic in it becomes `internal`, so that the request ends like any other.
///
/// What a panic leaves half done belongs to its request; shared state gives itself back when dropped. The work is pinned by
/// its caller, because each move of a handler's future copies some kilobytes.
pub(in crate::server) async fn caught<T>(
    work: Pin<&mut impl Future<Output = Result<T, Refused>>>,
) -> Result<T, Refused> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| Err(Box::new(Problem::new(Code::Internal))))
}

impl Route {
    fn as_str(&self) -> &str {
        match self {
            Route::Matched(path) => path.as_str(),
            Route::Named(name) => name,
        }
    }
}

impl Waiting<'_> {
    /// Leaves the time out: the answer was here, and nothing was waited for.
    pub(in crate::server) fn was_none(mut self) {
        self.since = Instant::now();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.total += self.since.elapsed();
    }
}

#[cfg(test)]
mod tests;
