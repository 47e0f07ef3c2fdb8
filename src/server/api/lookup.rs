//! What was answered, looked up in the ledger: by id, in pages, by person. For its own client; for operators, on their
//! listener, of all clients.
//!
//! Invariants: nothing here calls a provider; what belongs to another client looks like what does not exist; a page's
//! cursor is a place in the ledger, so nothing that is written meanwhile moves it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, header, request};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Caller;
use super::body::VerifyBody;
use super::document::{BilledWord, OutcomeWord, SourceWord, VerdictWord};
use super::meter::{NO_SOURCE, UNKNOWN};
use super::verify::SOON;
use super::{Api, Refused, headers, method_of};
use super::{code::Code, problem::Problem};
use crate::domain::verdict::Verdict;
use crate::server::access_log::Line;
use crate::storage::ledger::{Call, Found, Wanted};

pub(super) const ROUTE_ALL: &str = "/v1/verifications";
pub(super) const ROUTE_ONE: &str = "/v1/verifications/{id}";
pub(super) const ROUTE_SEARCH: &str = "/v1/verifications/search";

/// Answers on a page.
const PAGE: u32 = 100;

/// A question that was answered, as it stands in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verification {
    /// The id that its answer had.
    verification_id: Uuid,
    /// When it was answered (RFC 3339, UTC).
    #[schema(format = DateTime)]
    answered_at: String,
    /// The client that asked.
    client: String,
    /// What it asked for.
    purpose: String,
    /// Its own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reference: Option<String>,
    /// The verdict, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<VerdictWord>)]
    verdict: Option<String>,
    /// The code of the problem, if there was none. `outcome_unknown` stands also for a caller who left, or whose answer was
    /// cut off by the end of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<String>,
    /// How the verdict came to the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<SourceWord>)]
    source: Option<String>,
    /// The provider that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider: Option<String>,
    /// Its reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider_request_id: Option<String>,
    /// When it gave it (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    verified_at: Option<String>,
    /// What was tried for this question.
    attempts: Vec<AttemptOnRecord>,
    /// The configuration of that moment.
    configuration: String,
    /// The calls of its flight, late ones too, with their prices. Only for operators, and only by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    calls: Option<Vec<CallOnRecord>>,
    /// What those calls have cost that are billed, in millionths of a yuan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cost_micro_yuan: Option<u64>,
    /// The same with those of which nobody knows whether they are billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    possible_cost_micro_yuan: Option<u64>,
}

/// One try at a provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptOnRecord {
    provider: String,
    endpoint: String,
    #[schema(value_type = OutcomeWord)]
    outcome: String,
    /// The finer cause, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[schema(value_type = BilledWord)]
    billed: String,
    duration_ms: u64,
}

/// One call that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallOnRecord {
    #[serde(flatten)]
    attempt: AttemptOnRecord,
    /// When it had ended (RFC 3339, UTC).
    #[schema(format = DateTime)]
    ended_at: String,
    /// The provider's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider_request_id: Option<String>,
    /// What it cost, or at most costs if it is billed, in millionths of a yuan.
    price_micro_yuan: u64,
    /// Whether it came after its attempt had been given up.
    late: bool,
}

/// A page of the ledger, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page {
    /// At most 100.
    verifications: Vec<Verification>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// Which answers are wanted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the documented form of what `Query::parse` reads")]
pub struct PageQuery {
    /// Those with this reference.
    #[param(required = false, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    reference: String,
    /// Not before (RFC 3339).
    #[param(required = false, format = DateTime)]
    from: String,
    /// Before (RFC 3339).
    #[param(required = false, format = DateTime)]
    to: String,
    /// By this provider.
    #[param(required = false, min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$")]
    provider: String,
    /// With this verdict.
    #[param(required = false, value_type = VerdictWord)]
    verdict: String,
    /// `next_cursor` of the page before.
    #[param(required = false, min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// Where to begin.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the documented form of what `Query::parse` reads")]
pub struct CursorQuery {
    /// `next_cursor` of the page before.
    #[param(required = false, min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// A person. In a body, so that no log of an address has them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the documented form of what `VerifyBody::parse` reads")]
pub struct SearchRequest {
    /// As on the ID card.
    #[schema(example = "张三", min_length = 1)]
    name: String,
    /// 18 characters (15 are converted).
    #[schema(example = "11010519491231002X", min_length = 1)]
    id_number: String,
}

/// Whose answers may be seen.
#[derive(Debug, Clone)]
enum Scope {
    /// This client's.
    Client(Arc<str>),
    /// Everybody's.
    All,
}

/// What a look-up answers with.
enum Told {
    One(Box<Verification>),
    Page(Page),
}

#[derive(Debug, Default)]
struct Query {
    wanted: Wanted,
    below: Option<i64>,
}

/// The look-ups of all clients' answers, for the listener for operators.
pub fn for_operators(api: Arc<Api>) -> Router {
    Router::new()
        .route(ROUTE_ALL, get(|State(api): State<Arc<Api>>, request: Request| answer_operator(api, ROUTE_ALL, request)))
        .route(ROUTE_ONE, get(|State(api): State<Arc<Api>>, request: Request| answer_operator(api, ROUTE_ONE, request)))
        .route(
            ROUTE_SEARCH,
            post(|State(api): State<Arc<Api>>, request: Request| answer_operator(api, ROUTE_SEARCH, request)),
        )
        .with_state(api)
}

async fn answer_operator(api: Arc<Api>, route: &'static str, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let request_id = api.request_id(&parts.headers);
    let result = api.look_up(route, &parts, body, Scope::All).await;
    respond(&result, &request_id)
}

/// What was answered under this id. On the listener for operators, of any client, with every call and its price.
#[utoipa::path(get, path = "/v1/verifications/{id}", tag = "verify", operation_id = "verification",
    security(("client_key" = [])),
    params(("id" = Uuid, Path, description = "A `verification_id`")),
    responses((status = 200, description = "It is in the ledger", body = Verification))
)]
pub(super) async fn one(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_ONE, request).await
}

/// The client's answers, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(get, path = "/v1/verifications", tag = "verify", operation_id = "verifications",
    security(("client_key" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(super) async fn page(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_ALL, request).await
}

/// The client's answers about one person, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(post, path = "/v1/verifications/search", tag = "verify", operation_id = "search_verifications",
    security(("client_key" = [])),
    params(CursorQuery),
    request_body(content = SearchRequest),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(super) async fn search(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_SEARCH, request).await
}

impl Api {
    async fn answer_client(&self, route: &'static str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let (began, request_id) = (Instant::now(), self.request_id(&parts.headers));
        let mut caller = None;
        let result = match self.places.try_acquire() {
            Ok(_place) => match self.admit(&parts, &mut caller) {
                Ok(client) => self.look_up(route, &parts, body, Scope::Client(client)).await,
                Err(problem) => Err(problem),
            },
            Err(_) => Err(Box::new(Problem::new(Code::Overloaded).with_retry_after(SOON))),
        };
        let response = respond(&result, &request_id);
        let (status, total) = (response.status(), began.elapsed());
        self.access_log.write(&Line {
            time: format!("{:.3}", self.clock.now()),
            kind: "request",
            request_id: &request_id,
            trace_id: headers::trace_id(&parts.headers),
            method: method_of(&parts.method),
            route,
            status: status.as_u16(),
            client: caller.as_ref().map(|caller| &*caller.client.name),
            key_id: caller.as_ref().map(|caller| &*caller.key_id).filter(|id| !id.is_empty()),
            certificate_id: caller.as_ref().and_then(|caller| caller.certificate_id.as_deref()),
            code: result.as_ref().err().map(|problem| problem.code().as_str()),
            duration_ms: (total.as_secs_f64() * 1e6).round() / 1e3,
            ..Line::default()
        });
        let client = caller.as_ref().map_or(UNKNOWN, |caller| &*caller.client.name);
        self.meter.request(client, UNKNOWN, status.as_str(), NO_SOURCE, total.as_secs_f64(), 0.0);
        response
    }

    /// Who asks, within the client's rate.
    fn admit(&self, parts: &request::Parts, known: &mut Option<Caller>) -> Result<Arc<str>, Refused> {
        let caller = self.current.load().clients.identify(&parts.headers, &parts.extensions, self.clock.now())?;
        let client = Arc::clone(&caller.client);
        *known = Some(caller);
        if let Err((_, wait)) = client.admit() {
            return Err(Box::new(Problem::new(Code::RateLimited).with_retry_after(wait)));
        }
        if headers::size(&parts.method, &parts.uri, &parts.headers) > self.max_header_bytes {
            return Err(Box::new(Problem::new(Code::HeadersTooLarge)));
        }
        Ok(Arc::clone(&client.name))
    }

    async fn look_up(
        &self,
        route: &'static str,
        parts: &request::Parts,
        body: Body,
        scope: Scope,
    ) -> Result<Told, Refused> {
        if !headers::accepts_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::NotAcceptable)));
        }
        if !self.ledger.is_on() {
            let detail = "this gateway keeps no ledger; its operator names one with ledger.file";
            return Err(Box::new(Problem::new(Code::NotFound).with_error("", "no_ledger", detail)));
        }
        if route == ROUTE_ONE {
            return Ok(Told::One(Box::new(self.look_up_one(parts.uri.path(), &scope).await?)));
        }
        let mut query = Query::parse(parts.uri.query().unwrap_or_default(), route == ROUTE_ALL)?;
        if route == ROUTE_SEARCH {
            query.wanted.subject = Some(self.digest_in(parts, body).await?);
        }
        if let Scope::Client(client) = scope {
            query.wanted.client = Some(client.to_string());
        }
        let below = query.below.unwrap_or(i64::MAX);
        // One more than fits tells whether there is another page.
        let mut found = self.ledger.answers(&query.wanted, below, PAGE + 1).await.map_err(|_| unreadable())?;
        let more = found.len() > PAGE as usize;
        found.truncate(PAGE as usize);
        let next_cursor = found.last().filter(|_| more).map(|last| cursor(last.seq));
        Ok(Told::Page(Page { verifications: found.into_iter().map(Verification::from).collect(), next_cursor }))
    }

    async fn look_up_one(&self, path: &str, scope: &Scope) -> Result<Verification, Refused> {
        let nobody = || {
            let detail = "this client has no answer of this id in the ledger; what is too old is removed from it";
            Box::new(Problem::new(Code::NotFound).with_error("", "unknown_verification", detail))
        };
        let id = path.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(nobody)?;
        let found = self.ledger.answer(id).await.map_err(|_| unreadable())?;
        let found = found.filter(|found| match scope {
            Scope::Client(client) => *found.answer.client == **client,
            Scope::All => true,
        });
        let found = found.ok_or_else(nobody)?;
        let calls = match (scope, found.answer.flight) {
            (Scope::All, Some(flight)) => Some(self.ledger.calls(flight).await.map_err(|_| unreadable())?),
            _ => None,
        };
        let cost = |billed: &[&str]| {
            let of = |call: &&Call| billed.contains(&&*call.end.billed);
            calls.as_ref().map(|calls| calls.iter().filter(of).map(|call| call.end.price_micro_yuan).sum())
        };
        let (cost_micro_yuan, possible_cost_micro_yuan) = (cost(&["yes"]), cost(&["yes", "unknown"]));
        let calls = calls.map(|calls| calls.into_iter().map(CallOnRecord::from).collect());
        Ok(Verification { calls, cost_micro_yuan, possible_cost_micro_yuan, ..Verification::from(found) })
    }

    /// The person in the body, as the ledger knows them.
    async fn digest_in(&self, parts: &request::Parts, body: Body) -> Result<String, Refused> {
        if !headers::is_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::UnsupportedMediaType)));
        }
        let now = self.current.load();
        let bytes = self.read(body, now.limits).await?;
        let body = VerifyBody::parse(&bytes)
            .map_err(|errors| Box::new(Problem::new(Code::MalformedRequest).with_errors(errors)))?;
        let others = [
            ("/purpose", body.purpose.is_some()),
            ("/reference", body.reference.is_some()),
            ("/include_person", body.include_person.is_some()),
        ];
        if let Some((pointer, _)) = others.iter().find(|(_, is_there)| *is_there) {
            let detail = "is not a member of a search; known are name and id_number";
            return Err(Box::new(Problem::new(Code::MalformedRequest).with_error(pointer, "unknown_member", detail)));
        }
        let subject = self.subject(&now, &body.name, &body.id_number)?;
        Ok(self.digest_key.person(&subject).to_hex())
    }
}

fn unreadable() -> Refused {
    Box::new(Problem::new(Code::LedgerUnavailable).with_retry_after(SOON))
}

fn respond(result: &Result<Told, Refused>, request_id: &str) -> Response {
    let document = match result {
        Ok(Told::One(verification)) => serde_json::to_vec(verification),
        Ok(Told::Page(page)) => serde_json::to_vec(page),
        Err(problem) => {
            let mut response = problem.to_response(request_id);
            response.headers_mut().insert(headers::X_REQUEST_ID, headers::value(request_id));
            return response;
        }
    };
    // Serializing a struct of strings and numbers cannot fail; an empty body is still a valid answer.
    let mut response = Response::new(Body::from(document.unwrap_or_default()));
    let all = response.headers_mut();
    all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    all.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    all.insert(headers::X_REQUEST_ID, headers::value(request_id));
    response
}

fn cursor(below: i64) -> String {
    URL_SAFE_NO_PAD.encode(below.to_be_bytes())
}

impl Query {
    /// Reads the query; with `filters`, other parameters than the cursor too.
    fn parse(text: &str, filters: bool) -> Result<Self, Refused> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let Self { wanted, below } = &mut query;
            let mistake = match &*name {
                _ if seen.iter().any(|one| *one == *name) => Some("occurs twice; send it once"),
                "cursor" => {
                    let bytes = URL_SAFE_NO_PAD.decode(&*value).ok().and_then(|bytes| bytes.try_into().ok());
                    *below = bytes.map(i64::from_be_bytes);
                    below.is_none().then_some("is no cursor of ours; send `next_cursor` as it was given")
                }
                "reference" if filters => {
                    let is_one = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
                    wanted.reference = is_one.then(|| value.to_string());
                    (!is_one).then_some("must have 1 to 128 visible ASCII characters")
                }
                "from" | "to" if filters => {
                    let at = value.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
                    *(if name == "from" { &mut wanted.from_ms } else { &mut wanted.until_ms }) = at;
                    at.is_none().then_some("must be a time such as 2026-11-22T08:00:00Z (RFC 3339)")
                }
                "provider" if filters => {
                    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                    let is_one = (1..=64).contains(&value.len()) && value.bytes().all(plain);
                    wanted.provider = is_one.then(|| value.to_string());
                    (!is_one).then_some("must be a provider's name: small letters, digits and _")
                }
                "verdict" if filters => {
                    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == value);
                    wanted.outcome = verdict.map(|verdict| verdict.as_str().to_owned());
                    verdict.is_none().then_some("must be match, mismatch or no_record")
                }
                _ => {
                    let detail = "the query has a parameter that is unknown here; see openapi.yaml";
                    let problem = Problem::new(Code::MalformedRequest).with_error("", "unknown_parameter", detail);
                    return Err(Box::new(problem));
                }
            };
            if let Some(detail) = mistake {
                let problem = Problem::new(Code::MalformedRequest);
                return Err(Box::new(problem.with_error(&format!("/{name}"), "bad_parameter", detail)));
            }
            seen.push(name.into_owned());
        }
        Ok(query)
    }
}

fn at(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

impl From<Found> for Verification {
    fn from(Found { answer, .. }: Found) -> Self {
        let is_verdict = Verdict::ALL.iter().any(|verdict| verdict.as_str() == answer.outcome);
        let (verdict, code) = if is_verdict { (Some(answer.outcome), None) } else { (None, Some(answer.outcome)) };
        let attempts = answer.attempts.into_iter().map(|attempt| AttemptOnRecord {
            provider: attempt.provider,
            endpoint: attempt.endpoint,
            outcome: attempt.outcome,
            reason: attempt.reason,
            billed: attempt.billed,
            duration_ms: attempt.duration_ms,
        });
        Self {
            verification_id: answer.id,
            answered_at: at(answer.at_ms),
            client: answer.client,
            purpose: answer.purpose,
            reference: answer.reference,
            verdict,
            code,
            source: answer.source,
            provider: answer.provider,
            provider_request_id: answer.provider_request_id,
            verified_at: answer.verified_at_ms.map(at),
            attempts: attempts.collect(),
            configuration: answer.configuration,
            calls: None,
            cost_micro_yuan: None,
            possible_cost_micro_yuan: None,
        }
    }
}

impl From<Call> for CallOnRecord {
    fn from(Call { at_ms, provider, endpoint, end, .. }: Call) -> Self {
        let (outcome, reason, billed, duration_ms) = (end.outcome, end.reason, end.billed, end.duration_ms);
        Self {
            attempt: AttemptOnRecord { provider, endpoint, outcome, reason, billed, duration_ms },
            ended_at: at(at_ms),
            provider_request_id: end.provider_request_id,
            price_micro_yuan: end.price_micro_yuan,
            late: end.late,
        }
    }
}
