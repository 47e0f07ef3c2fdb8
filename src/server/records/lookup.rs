//! What was answered, looked up in the ledger: by id (as a receipt too), in pages, by person. For its own client; for
//! operators, on their listener, of all clients.
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
use tokio::time::Instant;
use uuid::Uuid;

use super::receipt;
use crate::domain::verdict::Verdict;
use crate::server::api::handler::SOON;
use crate::server::api::metrics::{NO_SOURCE, UNKNOWN};
use crate::server::api::{Api, Refused, method_of};
use crate::server::auth::callers::Caller;
use crate::server::http::access_log::Line;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::headers;
use crate::server::http::{code::Code, problem::Problem};
use crate::server::records::verification::{CallOnRecord, CursorQuery, Page, PageQuery, SearchRequest, Verification};
use crate::storage::ledger::{Call, Found, Wanted};

pub(in crate::server) const ROUTE_ALL: &str = "/v1/verifications";
pub(in crate::server) const ROUTE_ONE: &str = "/v1/verifications/{id}";
pub(in crate::server) const ROUTE_SEARCH: &str = "/v1/verifications/search";

/// Answers on a page.
const PAGE: u32 = 100;

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
    /// A compact JWS.
    Receipt(String),
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
            receipt::ROUTE,
            get(|State(api): State<Arc<Api>>, request: Request| answer_operator(api, receipt::ROUTE, request)),
        )
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
pub(in crate::server) async fn one(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_ONE, request).await
}

/// The client's answers, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(get, path = "/v1/verifications", tag = "verify", operation_id = "verifications",
    security(("client_key" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(in crate::server) async fn page(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_ALL, request).await
}

/// The client's answers about one person, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(post, path = "/v1/verifications/search", tag = "verify", operation_id = "search_verifications",
    security(("client_key" = [])),
    params(CursorQuery),
    request_body(content = SearchRequest),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(in crate::server) async fn search(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.answer_client(ROUTE_SEARCH, request).await
}

impl Api {
    pub(in crate::server) async fn answer_client(&self, route: &'static str, request: Request) -> Response {
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
        let now = self.current.load();
        if route == receipt::ROUTE {
            if !headers::accepts(&parts.headers, receipt::MEDIA_TYPE) {
                let detail = "a receipt is application/jose; accept that, or leave the header out";
                return Err(Box::new(Problem::new(Code::NotAcceptable).with_error("", "not_jose", detail)));
            }
            // First, since it is so for all.
            if !now.receipts.can_sign() {
                return Err(receipt::no_key());
            }
        } else if !headers::accepts_json(&parts.headers) {
            return Err(Box::new(Problem::new(Code::NotAcceptable)));
        }
        if !self.ledger.is_on() {
            let detail = "this gateway keeps no ledger; its operator names one with ledger.file";
            return Err(Box::new(Problem::new(Code::NotFound).with_error("", "no_ledger", detail)));
        }
        if route == ROUTE_ONE {
            let found = self.find(parts.uri.path(), &scope).await?;
            return Ok(Told::One(Box::new(self.with_calls(found, &scope).await?)));
        }
        if route == receipt::ROUTE {
            let path = parts.uri.path();
            let found = self.find(path.strip_suffix("/receipt").unwrap_or(path), &scope).await?;
            return Ok(Told::Receipt(receipt::give(&now.receipts, &self.digest_key, &found.answer)?));
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

    /// The answer whose id ends the path.
    async fn find(&self, path: &str, scope: &Scope) -> Result<Found, Refused> {
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
        found.ok_or_else(nobody)
    }

    /// An answer; for operators with the calls of its flight.
    async fn with_calls(&self, found: Found, scope: &Scope) -> Result<Verification, Refused> {
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
    const JSON: &str = "application/json";
    let (media_type, document) = match result {
        Ok(Told::One(verification)) => (JSON, serde_json::to_vec(verification)),
        Ok(Told::Page(page)) => (JSON, serde_json::to_vec(page)),
        Ok(Told::Receipt(jws)) => (receipt::MEDIA_TYPE, Ok(jws.clone().into_bytes())),
        Err(problem) => {
            let mut response = problem.to_response(request_id);
            response.headers_mut().insert(headers::X_REQUEST_ID, headers::value(request_id));
            return response;
        }
    };
    // Serializing a struct of strings and numbers cannot fail; an empty body is still a valid answer.
    let mut response = Response::new(Body::from(document.unwrap_or_default()));
    let all = response.headers_mut();
    all.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
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
