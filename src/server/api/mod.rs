//! `POST /v1/verify` for other services: bytes to a question, an answer or a problem to bytes.
//!
//! The order is the contract: shed, authenticate, limit, parse, check locally (free), then ask. Whatever happens, the
//! answer is JSON of ours, the request is counted once and logged once. To add a member or a header: `body` or
//! `headers`, then `openapi.yaml` (`idgate openapi` writes it).

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Router, response::Response};
use http::{HeaderValue, StatusCode, header, request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::auth::{Allowance, Caller, Clients};
use self::body::VerifyBody;
use self::idempotency::{Claim, Idempotency};
use self::meter::{NO_SOURCE, UNKNOWN};
use self::problem::{Code, Problem};
use self::reply::{AttemptDocument, Person, Provenance, VerifyReply};
use super::access_log::{AccessLog, Line};
use crate::domain::clock::{Clock, Ids};
use crate::domain::id_number::{Calendar, IdNumber};
use crate::domain::name::Name;
use crate::domain::personal::Personal;
use crate::domain::region::Regions;
use crate::domain::subject::{DigestKey, PairRules, Subject};
use crate::domain::verdict::Verdict;
use crate::verify::{Answer, Avoided, Current, Question, Source};

pub mod auth;
pub mod body;
mod headers;
pub mod idempotency;
pub mod meter;
pub mod problem;
pub mod reply;

const ROUTE: &str = "/v1/verify";

/// What the API is built on.
#[derive(Debug)]
pub struct Api {
    /// The running graph.
    pub current: Current,
    /// Who may ask.
    pub clients: Clients,
    /// The local rules.
    pub rules: Rules,
    /// Region names.
    pub regions: Arc<Regions>,
    /// Claimed idempotency keys.
    pub idempotency: Idempotency,
    /// Digests of keys and bodies.
    pub digest_key: DigestKey,
    /// Requests that may be worked on at once.
    pub places: Semaphore,
    /// The limits of a request.
    pub limits: Limits,
    /// One line per request.
    pub access_log: AccessLog,
    /// One count per request.
    pub meter: meter::Metrics,
    /// Calls avoided.
    pub verify_metrics: crate::verify::Metrics,
    /// Wall-clock time.
    pub clock: Clock,
    /// Request and verification ids.
    pub ids: Ids,
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
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
}

/// What becomes known of a request on its way, for its headers, its log line and its count.
#[derive(Debug, Default)]
struct Trace {
    caller: Option<Caller>,
    allowance: Option<Allowance>,
    purpose: Option<Arc<str>>,
    reference: Option<String>,
    asked_to_wait: Option<Duration>,
    upstream: Duration,
    cache_status: Option<String>,
    age: Option<Duration>,
    replayed: bool,
    reason: Option<&'static str>,
}

/// One request from its head to its answer, or to the moment its caller leaves.
struct Visit<'a> {
    api: &'a Api,
    parts: &'a request::Parts,
    began: Instant,
    trace: Trace,
    over: bool,
}

type Refused = Box<Problem>;

/// The public routes.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().route(ROUTE, post(verify).fallback(wrong_method)).fallback(not_found).with_state(api)
}

/// Do this name and this ID number belong together?
#[utoipa::path(
    post,
    path = "/v1/verify",
    tag = "verify",
    operation_id = "verify",
    request_body = body::VerifyRequest,
    security(("client_key" = [])),
    params(
        ("Cache-Control" = Option<String>, Header,
            description = "`no-cache` asks again, `max-age=N` takes an answer no older than N seconds, `only-if-cached` asks memory only (RFC 9111)"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: the seconds the caller waits (RFC 7240)"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters; the same key and body get the same answer for 24 hours"),
        ("X-Request-Id" = Option<String>, Header,
            description = "The caller's own id for this request: up to 128 of letters, digits and `-_.:`, fewer than 15 digits in a row; anything else is replaced"),
    ),
    responses(
        (status = 200, description = "A verdict", body = reply::VerifyReply, headers(
            ("X-Request-Id" = String, description = "The id of this request, as logged"),
            ("Age" = u64, description = "Seconds since the provider answered; only for remembered verdicts"),
            ("Cache-Status" = String, description = "`idgate; hit; ttl=N` or `idgate; fwd=miss` (RFC 9211)"),
            ("RateLimit" = String, description = "What is left of the client's rate"),
            ("RateLimit-Policy" = String, description = "The client's rate"),
        )),
        (status = 400, description = "`malformed_request`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 405, description = "`method_not_allowed`", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "`not_acceptable`", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "`request_timeout`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`idempotency_in_progress`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_name`, `invalid_id_number`, `unsupported_document`, `rejected_by_provider`, `idempotency_key_reused`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`rate_limited`, `subject_throttled`", body = Problem, content_type = "application/problem+json"),
        (status = 431, description = "`headers_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "`internal`", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`provider_failure`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`no_provider_available`, `overloaded`, `shutting_down`", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`outcome_unknown`, `not_cached`", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn verify(State(api): State<Arc<Api>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut visit = Visit { api: &api, parts: &parts, began: Instant::now(), trace: Trace::default(), over: false };
    let result = match api.places.try_acquire() {
        Ok(_place) => api.answer(&parts, body, &mut visit.trace).await,
        Err(_) => Err(Box::new(Problem::new(Code::Overloaded).with_retry_after(Duration::from_secs(1)))),
    };
    visit.respond(result)
}

async fn wrong_method(State(api): State<Arc<Api>>, request: Request) -> Response {
    let mut response = api.refuse(&request, Code::MethodNotAllowed);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn not_found(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.refuse(&request, Code::NotFound)
}

impl Api {
    /// The way of a question, from its head to its reply.
    async fn answer(&self, parts: &request::Parts, body: Body, trace: &mut Trace) -> Result<Arc<VerifyReply>, Refused> {
        let caller = self.clients.caller(&parts.headers, self.clock.now())?;
        let client = Arc::clone(&caller.client);
        trace.caller = Some(caller);
        match client.admit() {
            Ok(allowance) => trace.allowance = allowance,
            Err((allowance, wait)) => {
                trace.allowance = Some(allowance);
                return Err(Box::new(Problem::new(Code::RateLimited).with_retry_after(wait)));
            }
        }
        let head: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if head > self.limits.max_header_bytes {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        if !headers::accepts_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::NotAcceptable)));
        }
        if !headers::is_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::UnsupportedMediaType)));
        }
        let idempotency_key = headers::idempotency_key(&parts.headers)?;
        let bytes = self.read(body).await?;
        let body = VerifyBody::parse(&bytes)
            .map_err(|errors| Problem::new(Code::MalformedRequest).with_errors(errors))
            .map_err(Box::new)?;
        trace.reference.clone_from(&body.reference);
        let purpose = client.purpose(body.purpose.as_deref())?;
        trace.purpose = Some(Arc::clone(&purpose));
        let subject = self.check(&body, trace)?;
        let asked_to_wait = headers::patience(&parts.headers).map(|wait| wait.min(self.limits.request_timeout));
        trace.asked_to_wait = asked_to_wait;
        let question = Question {
            subject: Arc::new(subject),
            client: Arc::clone(&client.name),
            purpose,
            freshness: headers::freshness(&parts.headers),
            patience: asked_to_wait.unwrap_or(self.limits.request_timeout),
        };
        match idempotency_key {
            None => self.ask(question, body.include_person, trace).await,
            Some(key) => self.ask_once(&key, question, &body, trace).await,
        }
    }

    /// One question from this very process, under no client's rate and no purpose of its own.
    ///
    /// # Errors
    /// The problem that a caller would get.
    pub async fn ask_locally(&self, name: Personal, id_number: Personal) -> Result<VerifyReply, Problem> {
        let body = VerifyBody { name, id_number, purpose: None, reference: None, include_person: true };
        let mut trace = Trace::default();
        let subject = self.check(&body, &mut trace).map_err(|problem| *problem)?;
        let question = Question {
            subject: Arc::new(subject),
            client: Arc::from("local"),
            purpose: Arc::from(auth::DEFAULT_PURPOSE),
            freshness: crate::verify::Freshness::default(),
            patience: self.limits.request_timeout,
        };
        let reply = self.ask(question, true, &mut trace).await;
        reply.map(Arc::unwrap_or_clone).map_err(|problem| *problem)
    }

    /// Reads the body, up to its cap and its deadline.
    async fn read(&self, body: Body) -> Result<bytes::Bytes, Refused> {
        let limited = Limited::new(body, self.limits.max_body_bytes);
        match tokio::time::timeout(self.limits.body_timeout, limited.collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let most = self.limits.max_body_bytes;
                let detail = format!("is larger than {most} bytes; a question needs a few hundred");
                Err(Box::new(Problem::new(Code::PayloadTooLarge).with_error("", "too_large", &detail)))
            }
            Ok(Err(_)) => {
                let detail = "the body broke off; send all of it";
                Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "incomplete", detail)))
            }
            Err(_) => Err(Box::new(Problem::new(Code::RequestTimeout))),
        }
    }

    /// The local rules: free, and first.
    fn check(&self, body: &VerifyBody, trace: &mut Trace) -> Result<Subject, Refused> {
        let mut refuse = |code: Code, pointer: &str, reason: &'static str, detail: &str| {
            trace.reason = Some(reason);
            self.verify_metrics.avoided(Avoided::InvalidInput);
            Box::new(Problem::new(code).with_error(pointer, reason, detail))
        };
        let number = IdNumber::parse(body.id_number.expose(), self.clock.today_in_china(), self.rules.calendar)
            .map_err(|wrong| refuse(Code::InvalidIdNumber, "/id_number", wrong.reason(), wrong.detail()))?;
        let name = Name::parse(body.name.expose());
        name.and_then(|name| Subject::new(name, number, self.rules.pair))
            .map_err(|wrong| refuse(Code::InvalidName, "/name", wrong.reason(), wrong.detail()))
    }

    async fn ask(&self, question: Question, person: bool, trace: &mut Trace) -> Result<Arc<VerifyReply>, Refused> {
        let began = Instant::now();
        let live = self.current.load();
        let answer = tokio::select! {
            biased;
            answer = live.ask(&question) => answer,
            () = self.last_call.cancelled() => return Err(Box::new(Problem::new(Code::ShuttingDown))),
        };
        match answer {
            Ok(answer) => {
                if answer.source != Source::Cache {
                    trace.upstream = began.elapsed();
                }
                trace.note(&answer);
                Ok(Arc::new(self.reply(&question.subject, &answer, person)))
            }
            Err(failure) => {
                trace.upstream = began.elapsed();
                Err(Box::new(failure.into()))
            }
        }
    }

    /// The same under an idempotency key: claimed before anything is asked, final only with a verdict.
    async fn ask_once(
        &self,
        key: &str,
        question: Question,
        body: &VerifyBody,
        trace: &mut Trace,
    ) -> Result<Arc<VerifyReply>, Refused> {
        let deadline = Instant::now() + question.patience;
        let digest = |context: &str, parts: &[&[u8]]| self.digest_key.digest(context, parts);
        let key = digest("idempotency-key/v1", &[question.client.as_bytes(), key.as_bytes()]);
        let VerifyBody { name, id_number, purpose: _in_question, reference, include_person } = body;
        let parts = [name.expose(), id_number.expose(), &question.purpose, reference.as_deref().unwrap_or_default()];
        let body =
            digest("idempotent-body/v1", &[&parts.map(str::as_bytes)[..], &[&[u8::from(*include_person)]]].concat());
        loop {
            match self.idempotency.claim(key, body).await {
                Claim::Held(held) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let reply = self.ask(Question { patience: left, ..question }, *include_person, trace).await?;
                    held.finish(Arc::clone(&reply));
                    return Ok(reply);
                }
                Claim::Done(reply) => return Ok(self.replay(reply, trace)),
                Claim::Reused => {
                    let detail = "was used with another body before; use a new key";
                    let problem = Problem::new(Code::IdempotencyKeyReused);
                    return Err(Box::new(problem.with_error("", "idempotency_key_reused", detail)));
                }
                Claim::Busy(busy) => match tokio::time::timeout_at(deadline, busy.wait()).await {
                    Ok(Some(reply)) => return Ok(self.replay(reply, trace)),
                    Ok(None) => {}
                    Err(_) => {
                        let problem = Problem::new(Code::IdempotencyInProgress);
                        return Err(Box::new(problem.with_retry_after(Duration::from_secs(1))));
                    }
                },
            }
        }
    }

    fn replay(&self, reply: Arc<VerifyReply>, trace: &mut Trace) -> Arc<VerifyReply> {
        self.verify_metrics.avoided(Avoided::Idempotent);
        trace.replayed = true;
        reply
    }

    fn reply(&self, subject: &Subject, answer: &Answer, person: bool) -> VerifyReply {
        let converted = subject.number().was_converted().then_some("converted_15_digit");
        let may_differ = answer.verdict == Verdict::Mismatch && subject.parsed_name().has_alternate_spelling();
        let alternate = may_differ.then_some("alternate_spelling_possible");
        let names = subject.parsed_name().warnings().iter().map(|warning| warning.as_str());
        VerifyReply {
            verification_id: self.ids.ordered(),
            verdict: answer.verdict.as_str(),
            provenance: Provenance::from(answer),
            warnings: converted.into_iter().chain(alternate).chain(names).collect(),
            person: person.then(|| Person::of(subject, &self.regions, self.clock.today_in_china())),
        }
    }

    fn refuse(&self, request: &Request, code: Code) -> Response {
        let id = self.request_id(request.headers());
        let mut response = Problem::new(code).to_response(&id);
        response.headers_mut().insert(headers::X_REQUEST_ID, headers::value(&id));
        self.meter.request(UNKNOWN, UNKNOWN, code.status().as_str(), NO_SOURCE, 0.0, 0.0);
        self.access_log.write(&Line {
            time: format!("{:.3}", self.clock.now()),
            kind: "request",
            request_id: &id,
            method: method_of(request.method()),
            route: "none",
            status: code.status().as_u16(),
            code: Some(code.as_str()),
            ..Line::default()
        });
        response
    }

    fn request_id(&self, headers: &http::HeaderMap) -> String {
        headers::request_id(headers).unwrap_or_else(|| self.ids.ordered().to_string())
    }
}

impl Visit<'_> {
    /// Bytes out: the response with its headers, its log line, its count.
    fn respond(mut self, result: Result<Arc<VerifyReply>, Refused>) -> Response {
        let request_id = self.api.request_id(&self.parts.headers);
        let mut response = match &result {
            Ok(reply) => reply.to_response(),
            Err(problem) => problem.to_response(&request_id),
        };
        self.trace.add_headers(&mut response, &request_id);
        self.record(&request_id, response.status(), Some(&result));
        self.over = true;
        response
    }

    fn record(&self, request_id: &str, status: StatusCode, result: Option<&Result<Arc<VerifyReply>, Refused>>) {
        let trace = &self.trace;
        let total = self.began.elapsed();
        let mut line = Line {
            time: format!("{:.3}", self.api.clock.now()),
            kind: "request",
            request_id,
            trace_id: headers::trace_id(&self.parts.headers),
            method: "POST",
            route: ROUTE,
            status: status.as_u16(),
            client: trace.caller.as_ref().map(|caller| &*caller.client.name),
            key_id: trace.caller.as_ref().map(|caller| &*caller.key_id).filter(|id| !id.is_empty()),
            purpose: trace.purpose.as_deref(),
            reference: trace.reference.as_deref(),
            reason: trace.reason,
            duration_ms: (total.as_secs_f64() * 1e6).round() / 1e3,
            ..Line::default()
        };
        match result {
            Some(Ok(reply)) => {
                line.verification_id = Some(reply.verification_id);
                line.verdict = Some(reply.verdict);
                line.source = Some(reply.provenance.source);
                line.provider = Some(&reply.provenance.provider);
                line.provider_request_id = reply.provenance.provider_request_id.as_deref();
                line.attempts = reply.provenance.attempts.iter().map(AttemptDocument::in_short).collect();
            }
            Some(Err(problem)) => {
                line.code = Some(problem.code().as_str());
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
            let request_id = self.api.request_id(&self.parts.headers);
            self.record(&request_id, client_closed_request(), None);
        }
    }
}

/// The status that logs use for a caller who left before the answer; it is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

impl Trace {
    fn note(&mut self, answer: &Answer) {
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
            headers.insert(headers::RATELIMIT, headers::value(&allowance.state()));
            headers.insert(headers::RATELIMIT_POLICY, headers::value(&allowance.policy()));
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

/// The method for the log: a word from a closed set, since the caller can make up any.
fn method_of(method: &http::Method) -> &'static str {
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
