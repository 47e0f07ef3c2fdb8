//! `POST /v1/verify`: reads a question, answers it, and writes the response. The order of the steps is part of the
//! contract.

use std::pin::pin;
use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, Request, StatusCode, request};
use hyper::body::Incoming;

use super::request_headers::VerifyHeaders;
use super::state::{ROUTE, Verify};
use super::{idempotent, reply};
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::server::auth::client::Client;
use crate::server::http::access_log::Line;
use crate::server::http::body_reader::{VerifyBody, VerifyRequest};
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::http::recorder::Audience;
use crate::server::http::request_scope::{Answered, RequestScope, caught};
use crate::server::http::{body, headers};
use crate::server::pipeline::{self, Delivered, RequestOptions, build_local_question, build_question};
use crate::server::snapshot::Snapshot;
use crate::verify::{Place, Question};

/// All problems that this route can answer with instead of a verdict.
pub(in crate::server) const PROBLEMS: [Code; 26] = [
    Code::MalformedRequest,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotAcceptable,
    Code::RequestTimeout,
    Code::IdempotencyInProgress,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::HeadersTooLarge,
    Code::InvalidName,
    Code::InvalidIdNumber,
    Code::UnsupportedDocument,
    Code::RejectedByProvider,
    Code::IdempotencyKeyReused,
    Code::RateLimited,
    Code::SubjectThrottled,
    Code::EnumerationSuspected,
    Code::BudgetExhausted,
    Code::Internal,
    Code::ProviderFailure,
    Code::NoProviderAvailable,
    Code::LedgerUnavailable,
    Code::Overloaded,
    Code::ShuttingDown,
    Code::OutcomeUnknown,
    Code::NotCached,
];

/// A verdict, and what its response tells beside it.
struct Replied {
    delivered: Delivered,
    subject: Arc<Subject>,
    person: Option<reply::Person>,
}

/// What the head of a request says, once it is known who asks.
struct Head {
    client: Arc<Client>,
    options: RequestOptions,
    idempotency_key: Option<String>,
    /// Kept until the question is read.
    _place: Place,
}

/// Do this name and this ID number belong together?
#[utoipa::path(
    post,
    path = "/v1/verify",
    tag = "verify",
    operation_id = "verify",
    request_body(content = VerifyRequest, examples(
        ("match" = (summary = "The right name", value = json!({"name": "张三", "id_number": "11010519491231002X"}))),
        ("mismatch" = (summary = "Another name", value = json!({"name": "李四", "id_number": "11010519491231002X"}))),
        ("no_record" = (summary = "Nobody", value = json!({"name": "张三", "id_number": "440524188001010014"}))),
        ("all" = (summary = "Every member", value = json!({"name": "张测试", "id_number": "110101199003079972",
            "purpose": "default", "reference": "payout-4711", "include_person": true}))),
    )),
    security(("client_key" = [])),
    params(VerifyHeaders),
    responses(
        (status = 200, description = "A verdict", body = reply::VerifyReply, headers(
            ("X-Request-Id" = String, description = "The id of this request, as logged"),
            ("Age" = u64, description = "Seconds since the provider answered; only for remembered verdicts"),
            ("Cache-Status" = String,
                description = "`idgate; hit; ttl=N`, `idgate; fwd=miss` or `idgate; fwd=miss; collapsed`, with `detail=replica` if another replica made the call (RFC 9211)"),
            ("Cache-Control" = String, description = "Always `no-store`: nobody between us and the caller keeps it"),
            ("Preference-Applied" = String, description = "`wait=N`, if it was asked for (RFC 7240)"),
            ("Idempotency-Replayed" = String, description = "`true`: the answer of an earlier request with this key"),
            ("RateLimit" = String, description = "What is left of the client's rate (IETF draft)"),
            ("RateLimit-Policy" = String, description = "The client's rate (IETF draft)"),
        )),
    )
)]
pub(in crate::server) async fn verify(verify: Arc<Verify>, request: Request<Incoming>) -> Response {
    let mut scope = RequestScope::public(&verify.recorder, ROUTE, &request);
    let mut headers = HeaderMap::new();
    let result = caught(pin!(answer(&verify, request, &mut headers, &mut scope))).await;
    scope.answer(&result, |request_id| match &result {
        Ok(Replied { delivered, subject, person }) => {
            reply::response(&delivered.verified, subject, person.as_ref(), headers)
        }
        Err(problem) => problem.to_response(request_id),
    })
}

/// Answers a question. Its headers are left in `headers`, as memory for those of the response.
async fn answer(
    verify: &Verify,
    request: Request<Incoming>,
    headers: &mut HeaderMap,
    scope: &mut RequestScope,
) -> Result<Replied, Refused> {
    let pipeline = &*verify.pipeline;
    let now = pipeline.current.load();
    // Head and body share the connection's read buffer. Neither is kept while a provider is waited for, because thousands
    // of requests may be waiting.
    let (head, body) = {
        let (mut parts, body) = request.into_parts();
        let head = read_head(verify, &now, &parts, scope)?;
        *headers = std::mem::take(&mut parts.headers);
        headers.clear();
        (head, body)
    };
    let bytes = body::read(body, now.limits.max_body_bytes, now.limits.body_timeout).await?;
    let (question, body, idempotency_key) = read_question(verify, &now, head, &bytes, scope)?;
    drop(bytes);
    let subject = Arc::clone(&question.subject);
    let delivered = match idempotency_key {
        None => pipeline::ask_and_write(pipeline, &now, &question, scope).await?,
        // Boxed, because every request would otherwise carry (and wipe) the space of the few that have a key.
        Some(key) => Box::pin(idempotent::ask_once(verify, &now, &key, question, &body, scope)).await?,
    };
    let person = body.wants_person().then(|| person_of(verify, &now, &subject));
    Ok(Replied { delivered, subject, person })
}

/// Identifies the client, and reads what it wants from the head.
fn read_head(
    verify: &Verify,
    now: &Snapshot,
    parts: &request::Parts,
    scope: &mut RequestScope,
) -> Result<Head, Refused> {
    let pipeline = &*verify.pipeline;
    let caller = now.clients.identify(parts, pipeline.clock.now())?;
    let client = pipeline::admit(scope, caller)?;
    let place = now.runtime.place_to_read(&client.name).map_err(|_| pipeline::overloaded())?;
    pipeline::check_head(&parts.method, &parts.uri, &parts.headers, pipeline.max_header_bytes)?;
    let sent = headers::Sent::of(&parts.headers);
    if !sent.accepts_json(&parts.headers) {
        return Err(Box::new(Problem::new(Code::NotAcceptable)));
    }
    headers::require_json(&parts.headers)?;
    let idempotency_key = sent.idempotency_key(&parts.headers)?;
    let freshness = sent.freshness(&parts.headers)?;
    let options = RequestOptions { freshness, patience: sent.patience(&parts.headers) };
    Ok(Head { client, options, idempotency_key, _place: place })
}

/// Reads and validates a question. Returns its body and idempotency key too.
fn read_question(
    verify: &Verify,
    now: &Snapshot,
    head: Head,
    bytes: &[u8],
    scope: &mut RequestScope,
) -> Result<(Question, VerifyBody, Option<String>), Refused> {
    let Head { client, options, idempotency_key, _place } = head;
    let malformed = |errors| Box::new(Problem::new(Code::MalformedRequest).with_errors(errors));
    let body = VerifyBody::parse(bytes).map_err(malformed)?;
    let question = build_question(&verify.pipeline, now, &client, &body, options, scope)?;
    client.count_question(&verify.pipeline.clock)?;
    Ok((question, body, idempotency_key))
}

fn person_of(verify: &Verify, now: &Snapshot, subject: &Subject) -> reply::Person {
    reply::Person::of(subject, &now.regions, verify.pipeline.clock.today_in_china())
}

/// Answers one question from within this process: no client, no rate limit, the default purpose.
///
/// # Errors
/// The problem that a caller would get.
pub async fn ask_locally(verify: &Verify, name: Personal, id_number: Personal) -> Result<reply::VerifyReply, Refused> {
    let mut scope = RequestScope::unknown(&verify.recorder, Audience::Services);
    let now = verify.pipeline.current.load();
    let body = VerifyBody { name, id_number, purpose: None, reference: None, include_person: Some(true) };
    let asked = async {
        let question = build_local_question(&verify.pipeline, &now, &body, &mut scope)?;
        let subject = Arc::clone(&question.subject);
        let delivered = pipeline::ask_and_write(&verify.pipeline, &now, &question, &mut scope).await?;
        let person = Some(person_of(verify, &now, &subject));
        Ok(Replied { delivered, subject, person })
    };
    let result = caught(pin!(asked)).await;
    scope.answer(&result, |_| Response::default());
    let Replied { delivered, subject, person } = result?;
    Ok(reply::VerifyReply::new(&delivered.verified, &subject, person))
}

impl Answered for Replied {
    fn describe<'a>(&'a self, line: &mut Line<'a>) {
        self.delivered.describe(line);
    }

    fn add_headers(&self, status: StatusCode, headers: &mut HeaderMap) {
        self.delivered.add_headers(status, headers);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_request_under_way_is_small() {
        fn size<A, F: Future>(_work: impl FnOnce(A) -> F) -> usize {
            size_of::<F>()
        }
        // Every connection has room for one, and each one is copied several times before it begins.
        let bytes = size(|(verify, request)| super::verify(verify, request));
        assert!(bytes <= 3584, "{bytes}");
    }
}
