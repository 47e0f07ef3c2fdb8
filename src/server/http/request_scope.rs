//! One request from its head to its answer, or to the moment its caller leaves: its headers, its one log line, its one
//! count.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use uuid::Uuid;

use super::headers;
use crate::server::api::idempotency::Held;
use crate::server::api::metrics::{NO_SOURCE, UNKNOWN};
use crate::server::api::reply::{AttemptDocument, VerifyReply};
use crate::server::api::{Api, ROUTE, Refused};
use crate::server::auth::callers::Caller;
use crate::server::auth::rate::Allowance;
use crate::server::http::access_log::Line;
use crate::server::http::code::Code;
use crate::storage::ledger::{self, Flight};
use crate::verify::{Answer, Source, Ticket};

/// What becomes known of a request on its way, for its headers, its log line and its count.
#[derive(Debug, Default)]
pub(in crate::server) struct Trace {
    pub(in crate::server) caller: Option<Caller>,
    pub(in crate::server) allowance: Option<Allowance>,
    pub(in crate::server) purpose: Option<Arc<str>>,
    pub(in crate::server) reference: Option<String>,
    pub(in crate::server) asked_to_wait: Option<Duration>,
    pub(in crate::server) upstream: Duration,
    pub(in crate::server) cache_status: Option<String>,
    pub(in crate::server) age: Option<Duration>,
    pub(in crate::server) replayed: bool,
    /// What the question is known by in the ledger, until its answer is there.
    pub(in crate::server) ticket: Option<Ticket>,
    /// Whom it is about, as the ledger knows them.
    pub(in crate::server) person: Option<ledger::Subject>,
    pub(in crate::server) flight: Flight,
    /// The claim on its idempotency key.
    pub(in crate::server) claim: Option<Uuid>,
    /// Its idempotency key, until that is finished.
    pub(in crate::server) held: Option<Held>,
}

/// Where a request came, in words from closed sets.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Label {
    pub(in crate::server) method: &'static str,
    pub(in crate::server) route: &'static str,
    /// The driver whose protocol it is in; none for our own.
    pub(in crate::server) protocol: Option<&'static str>,
}

/// One request from its head to its answer, or to the moment its caller leaves.
pub(in crate::server) struct Visit<'a> {
    api: &'a Api,
    /// What stands for the request in its log line.
    pub(in crate::server) label: Label,
    trace_id: Option<String>,
    pub(in crate::server) trace: Trace,
    request_id: String,
    began: Instant,
    over: bool,
}

impl<'a> Visit<'a> {
    /// A question of our own API, whose head has just been read.
    pub(in crate::server) fn new(api: &'a Api, head: &HeaderMap) -> Self {
        Self::at(api, Label { method: "POST", route: ROUTE, protocol: None }, head)
    }

    /// Any request, whose head has just been read.
    pub(in crate::server) fn at(api: &'a Api, label: Label, head: &HeaderMap) -> Self {
        let (request_id, trace_id) = (api.request_id(head), headers::trace_id(head).map(str::to_owned));
        Self { api, label, trace: Trace::default(), request_id, trace_id, began: Instant::now(), over: false }
    }

    /// Bytes out: the response with its headers, its log line, its count.
    pub(in crate::server) fn respond(self, result: Result<Arc<VerifyReply>, Refused>) -> Response {
        self.respond_as(result, |result, request_id| match result {
            Ok(reply) => reply.to_response(),
            Err(problem) => problem.to_response(request_id),
        })
    }

    /// The same with a document that `write` makes of the result and the request's id.
    pub(in crate::server) fn respond_as(
        mut self,
        result: Result<Arc<VerifyReply>, Refused>,
        write: impl FnOnce(&Result<Arc<VerifyReply>, Refused>, &str) -> Response,
    ) -> Response {
        // First, so that a defect in here is not recorded a second time on the way out.
        self.over = true;
        if let Err(problem) = &result {
            self.api.note_refusal(&mut self.trace, problem.code().as_str(), problem.attempts());
        }
        let request_id = &self.request_id;
        let mut response = write(&result, request_id);
        self.trace.add_headers(&mut response, request_id);
        self.record(response.status(), Some(&result));
        response
    }

    fn record(&self, status: StatusCode, result: Option<&Result<Arc<VerifyReply>, Refused>>) {
        let trace = &self.trace;
        let total = self.began.elapsed();
        let mut line = Line {
            time: format!("{:.3}", self.api.clock.now()),
            kind: "request",
            request_id: &self.request_id,
            trace_id: self.trace_id.as_deref(),
            method: self.label.method,
            route: self.label.route,
            protocol: self.label.protocol,
            status: status.as_u16(),
            client: trace.caller.as_ref().map(|caller| &*caller.client.name),
            key_id: trace.caller.as_ref().map(|caller| &*caller.key_id).filter(|id| !id.is_empty()),
            certificate_id: trace.caller.as_ref().and_then(|caller| caller.certificate_id.as_deref()),
            purpose: trace.purpose.as_deref(),
            reference: trace.reference.as_deref(),
            duration_ms: (total.as_secs_f64() * 1e6).round() / 1e3,
            ..Line::default()
        };
        match result {
            Some(Ok(reply)) => {
                line.verification_id = Some(reply.verification_id);
                line.verdict = Some(&reply.verdict);
                line.source = Some(&reply.provenance.source);
                line.provider = Some(&reply.provenance.provider);
                line.provider_request_id = reply.provenance.provider_request_id.as_deref();
                line.attempts = reply.provenance.attempts.iter().map(AttemptDocument::in_short).collect();
            }
            Some(Err(problem)) => {
                line.code = Some(problem.code().as_str());
                line.reason = problem.reason();
                line.attempts = problem.attempts().iter().map(AttemptDocument::in_short).collect();
            }
            None => {}
        }
        self.api.access_log.write(&line);
        self.api.meter.request(
            line.client.unwrap_or(UNKNOWN),
            line.purpose.unwrap_or(UNKNOWN),
            status.as_str(),
            line.source.unwrap_or(NO_SOURCE),
            total.as_secs_f64(),
            trace.upstream.as_secs_f64(),
        );
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if !self.over {
            // The caller left. The work goes on without it; the request is still logged and counted.
            self.record(client_closed_request(), None);
            self.api.note_refusal(&mut self.trace, Code::OutcomeUnknown.as_str(), &[]);
        }
    }
}

/// The status that logs use for a caller who left before the answer; it is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

impl Trace {
    pub(in crate::server) fn note(&mut self, answer: &Answer) {
        let status = match answer.source {
            Source::Cache => {
                self.age = Some(answer.age);
                format!("idgate; hit; ttl={}", answer.left.unwrap_or_default().as_secs())
            }
            Source::Shared => "idgate; fwd=miss; collapsed".to_owned(),
            Source::Provider => "idgate; fwd=miss".to_owned(),
        };
        self.cache_status = Some(status);
    }

    fn add_headers(&self, response: &mut Response, request_id: &str) {
        let answered = response.status() == StatusCode::OK;
        let headers = response.headers_mut();
        headers.insert(headers::X_REQUEST_ID, headers::value(request_id));
        if let Some(allowance) = &self.allowance {
            headers.insert(headers::RATELIMIT, allowance.state());
            headers.insert(headers::RATELIMIT_POLICY, allowance.policy());
        }
        if let Some(status) = self.cache_status.as_ref().filter(|_| answered) {
            headers.insert(headers::CACHE_STATUS, headers::value(status));
        }
        if let Some(age) = self.age {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        if let Some(wait) = self.asked_to_wait {
            headers.insert(headers::PREFERENCE_APPLIED, headers::value(&format!("wait={}", wait.as_secs())));
        }
        if self.replayed {
            headers.insert(headers::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
    }
}
