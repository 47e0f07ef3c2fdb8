//! One request from its head to its end: its id, its log line, its metrics count, its ledger entry, and the time it
//! spent waiting for others, which does not count as our overhead.
//!
//! Invariant: a scope ends exactly once. `RequestScope::answer` ends it with an answer or a problem. If it is dropped
//! before that, either the caller has disconnected (status 499) or a handler has panicked (status 500). Handlers add
//! what they learn about the request to the scope, and never write a log line, a count or an error response themselves.
//!
//! A new field in the log line needs a member in [`Line`], and code here that sets it.

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
use uuid::Uuid;

use super::access_log::Line;
use super::attempt;
use super::code::Code;
use super::headers;
use super::problem::{Problem, Refused};
use super::rate_limit::Allowance;
use super::recorder::{Audience, Recorder};
use super::trace::{self, Key, Trace, Value};
use crate::domain::disclosure::holds_person;
use crate::domain::subject::Subject;
use crate::server::audit::AuditEntry;
use crate::server::auth::client::Caller;
use crate::server::auth::operators::Operator;

#[derive(Debug)]
pub(in crate::server) struct RequestScope {
    recorder: Recorder,
    audience: Audience,
    method: &'static str,
    route: Route,
    /// The driver whose protocol the request is in; `None` for our own API.
    protocol: Option<&'static str>,
    request_id: IdText,
    trace_id: Option<String>,
    /// Only while the request is traced.
    trace: Option<Box<Trace>>,
    began: Instant,
    /// Time spent waiting for providers or other requests since `began`.
    waited: Duration,
    admitted: Option<(Caller, Option<Allowance>)>,
    operator: Option<Arc<Operator>>,
    reference: Option<String>,
    purpose: Option<Arc<str>>,
    /// The wait that the caller asked for and was granted.
    granted_wait: Option<Duration>,
    audit: Option<AuditEntry>,
    has_ended: bool,
}

/// The id of a request on the admin listener, as a request extension for handlers that log their actions.
#[derive(Debug, Clone)]
pub(in crate::server) struct RequestId(pub(in crate::server) Arc<str>);

/// The id of a request, in the form in which it is told.
#[derive(Debug)]
enum IdText {
    OfCaller(String),
    Ours(String),
}

/// The route in the log line: never the path that the caller sent.
#[derive(Debug)]
enum Route {
    Matched(MatchedPath),
    Named(&'static str),
}

/// The answer to a request, as needed for its log line and headers.
pub(in crate::server) trait Answered {
    /// Adds the details of the answer to the log line.
    fn describe<'a>(&'a self, _line: &mut Line<'a>) {}

    /// Adds headers that only this answer has, before the response with this status is sent. Not called for problems.
    fn add_headers(&self, _status: StatusCode, _headers: &mut HeaderMap) {}
}

/// An answer with no details for the log line.
impl Answered for () {}

/// On drop, adds the elapsed time to `total`, which is excluded from the overhead metric.
pub(in crate::server) struct Waiting<'a> {
    since: Instant,
    total: &'a mut Duration,
}

enum End<'a> {
    Answer(&'a dyn Answered),
    Problem(&'a Problem),
    CallerLeft,
}

/// A scope for the matched route on the public listener.
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
        let request_id = headers::request_id(head).map_or_else(|| IdText::new(recorder), IdText::OfCaller);
        let began = Instant::now();
        Self {
            recorder: recorder.clone(),
            audience,
            method: headers::method_word(method),
            route,
            protocol: None,
            request_id,
            trace_id: headers::trace_id(head).map(str::to_owned),
            trace: recorder.trace(audience, head, began),
            began,
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

    /// A scope for a request on the public listener to the route `route`.
    pub(in crate::server) fn public<B>(recorder: &Recorder, route: &'static str, request: &http::Request<B>) -> Self {
        Self::begin(recorder, Audience::Services, request.method(), Route::Named(route), request.headers())
    }

    /// A scope for a request on the public listener that matches none of our routes.
    pub(in crate::server) fn unrouted<B>(recorder: &Recorder, request: &http::Request<B>) -> Self {
        Self::begin(recorder, Audience::Services, request.method(), Route::Named("none"), request.headers())
    }

    /// A scope for a request of which nothing is known: our own question, or one whose handler panicked before it had a
    /// scope.
    pub(in crate::server) fn unknown(recorder: &Recorder, audience: Audience) -> Self {
        let mut scope = Self::begin(recorder, audience, &Method::GET, Route::Named("none"), &HeaderMap::new());
        scope.method = "OTHER";
        scope
    }

    /// A scope for a request on the admin listener; requests to a `polled` route are not logged.
    pub(in crate::server) fn admin<B>(recorder: &Recorder, polled: &[&str], request: &http::Request<B>) -> Self {
        let route = matched(request.extensions());
        let audience = if polled.contains(&route.as_str()) { Audience::Probes } else { Audience::Operators };
        Self::begin(recorder, audience, request.method(), route, request.headers())
    }

    /// The request id: the caller's `X-Request-Id`, or a generated one.
    pub(in crate::server) fn request_id(&self) -> RequestId {
        RequestId(Arc::from(self.request_id.as_str()))
    }

    /// Sets the driver of a request in a provider's protocol, and the route to log for it.
    pub(in crate::server) fn is_in_protocol(&mut self, driver: &'static str, route: &'static str) {
        self.protocol = Some(driver);
        self.route = Route::Named(route);
    }

    /// Sets the caller and its remaining quota.
    pub(in crate::server) fn is_admitted(&mut self, caller: Caller, allowance: Option<Allowance>) {
        self.admitted = Some((caller, allowance));
    }

    pub(in crate::server) fn is_operated_by(&mut self, operator: &Arc<Operator>) {
        self.operator = Some(Arc::clone(operator));
    }

    pub(in crate::server) fn caller(&self) -> Option<&Caller> {
        self.admitted.as_ref().map(|(caller, _)| caller)
    }

    /// Drops ids of the caller that name the person it asks about. Only now is it known who that is.
    pub(in crate::server) fn is_about(&mut self, subject: &Subject) {
        let names = |id: &str| holds_person(id, subject.name(), subject.id_number());
        if matches!(&self.request_id, IdText::OfCaller(id) if names(id)) {
            self.request_id = IdText::new(&self.recorder);
        }
        if self.trace_id.as_deref().is_some_and(names) {
            self.trace_id = None;
        }
        if let Some(trace) = &mut self.trace {
            trace.is_about(subject, || self.recorder.chance());
        }
    }

    pub(in crate::server) fn has_reference(&mut self, reference: Option<&str>) {
        self.reference = reference.map(str::to_owned);
    }

    /// Sets the purpose of the question, and the ledger entry that must be written by the time the request ends.
    pub(in crate::server) fn is_question(&mut self, purpose: &Arc<str>, audit: Option<AuditEntry>) {
        self.purpose = Some(Arc::clone(purpose));
        self.audit = audit;
    }

    /// Sets the wait that the caller asked for and was granted; the response confirms it.
    pub(in crate::server) fn is_granted_wait(&mut self, wait: Option<Duration>) {
        self.granted_wait = wait;
    }

    /// The ledger entry that has yet to be written.
    pub(in crate::server) fn audit(&mut self) -> Option<&mut AuditEntry> {
        self.audit.as_mut()
    }

    /// Hands the ledger entry to the code that writes it; the scope then no longer writes one.
    pub(in crate::server) fn take_audit(&mut self) -> Option<AuditEntry> {
        self.audit.take()
    }

    /// Puts back a ledger entry that could not be written.
    pub(in crate::server) fn owes(&mut self, audit: AuditEntry) {
        self.audit = Some(audit);
    }

    /// The trace of the request, if it is traced.
    pub(in crate::server) fn trace(&mut self) -> Option<&mut Trace> {
        self.trace.as_deref_mut()
    }

    /// Now, if the request is traced.
    pub(in crate::server) fn traced_now(&self) -> Option<Instant> {
        self.trace.as_ref().map(|_| Instant::now())
    }

    /// Starts measuring a wait for others, which ends when the guard is dropped.
    pub(in crate::server) fn wait(&mut self) -> Waiting<'_> {
        Waiting { since: Instant::now(), total: &mut self.waited }
    }

    /// Ends the request. `write` builds the response from the request id.
    pub(in crate::server) fn answer<T: Answered>(
        mut self,
        result: &Result<T, Refused>,
        write: impl FnOnce(&str) -> Response,
    ) -> Response {
        let written = catch_unwind(AssertUnwindSafe(|| write(self.request_id.as_str())));
        let defect = Problem::new(Code::Internal);
        let is_defect = written.is_err();
        let mut response = written.unwrap_or_else(|_| defect.to_response(self.request_id.as_str()));
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(headers::X_REQUEST_ID, headers::value(self.request_id.as_str()));
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

    /// Ends the request with a response or a problem, including a problem that a handler returned as a response.
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

    /// Writes the log line, the count and, if still pending, the ledger entry.
    fn end(&mut self, status: StatusCode, end: &End<'_>) {
        self.has_ended = true;
        if let Some(audit) = self.audit.take() {
            match end {
                End::Problem(problem) => audit.without_verdict(problem.code(), problem.attempts()),
                End::Answer(_) | End::CallerLeft => audit.without_verdict(Code::OutcomeUnknown, &[]),
            }
        }
        let total = self.began.elapsed();
        let trace = self.trace.take();
        let trace_id = trace.as_ref().map(|trace| trace.id());
        let caller = self.caller();
        let mut line = Line {
            request_id: self.request_id.as_str(),
            trace_id: trace_id.as_deref().or(self.trace_id.as_deref()),
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
                line.verification_id = problem.verification_id();
                line.reason = problem.reason();
                line.attempts = attempt::in_short(problem.attempts());
            }
            End::CallerLeft => {}
        }
        // Nobody we know may fill what collects the traces.
        if let Some(trace) = trace
            && let Some(caller) = caller
        {
            let route = match &self.route {
                Route::Matched(path) => Value::Name(Arc::from(path.as_str())),
                Route::Named(name) => Value::Word(name),
            };
            let plain = [(Key::Method, Value::Word(self.method)), (Key::Route, route)];
            let names = [(Key::Client, Some(&caller.client.name)), (Key::Purpose, self.purpose.as_ref())];
            let attributes = trace::attributes(plain, names, &line);
            trace.end(self.recorder.wall(), total, status, attributes);
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
            // The flight continues without the caller (`verify::cached_lookup`).
            self.end(client_closed_request(), &End::CallerLeft);
        }
    }
}

/// The conventional log status for a caller that disconnected before the response; it is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Runs a handler's work and converts a panic to `internal`, so that the request ends like any other.
///
/// Unwind safety: state left incomplete by a panic belongs to this request alone, and shared resources are released on
/// drop. The caller pins the work, because moving a handler's future copies several kilobytes.
pub(in crate::server) async fn caught<T>(
    work: Pin<&mut impl Future<Output = Result<T, Refused>>>,
) -> Result<T, Refused> {
    let result = AssertUnwindSafe(work).catch_unwind().await;
    result.unwrap_or_else(|_| Err(Box::new(Problem::new(Code::Internal))))
}

impl IdText {
    fn new(recorder: &Recorder) -> Self {
        Self::Ours(String::from(recorder.new_id().hyphenated().encode_lower(&mut Uuid::encode_buffer())))
    }

    fn as_str(&self) -> &str {
        match self {
            Self::OfCaller(text) | Self::Ours(text) => text,
        }
    }
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
    /// Excludes the time so far: the answer was available and nothing was waited for.
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
