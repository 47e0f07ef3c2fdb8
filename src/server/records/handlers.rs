//! The handlers of lookups and receipts. A client sees its own answers; operators, on their listener, see those of all
//! clients.

use std::pin::pin;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, header, request};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use super::lookup::{self, Visible};
use super::state::Records;
use super::verification::{CursorQuery, Page, PageQuery, SearchRequest, Verification};
use crate::server::auth::operators::Operator;
use crate::server::http::code::Code;
use crate::server::http::problem::Refused;
use crate::server::http::request_scope::{RequestScope, caught};
use crate::server::pipeline;
use crate::storage::ledger::{Operation, Subject};

pub(in crate::server) const ROUTE_ALL: &str = "/v1/verifications";
pub(in crate::server) const ROUTE_ONE: &str = "/v1/verifications/{id}";
pub(in crate::server) const ROUTE_SEARCH: &str = "/v1/verifications/search";
pub(in crate::server) const ROUTE_RECEIPT: &str = "/v1/verifications/{id}/receipt";
pub(in crate::server) const ROUTE_KEYS: &str = "/.well-known/jwks.json";

/// The problems that every lookup can return.
pub(in crate::server) const PROBLEMS: [Code; 10] = [
    Code::MalformedRequest,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::NotAcceptable,
    Code::RateLimited,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::LedgerUnavailable,
    Code::Overloaded,
];
/// Additional problems of a search: it has a body with a person.
pub(in crate::server) const PROBLEMS_OF_SEARCH: [Code; 5] =
    [Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType, Code::InvalidName, Code::InvalidIdNumber];
/// Additional problems of a receipt.
pub(in crate::server) const PROBLEMS_OF_RECEIPT: [Code; 1] = [Code::ReceiptUnavailable];
/// All problems that the public keys can return.
pub(in crate::server) const PROBLEMS_OF_KEYS: [Code; 3] =
    [Code::MalformedRequest, Code::HeadersTooLarge, Code::Internal];

/// An authenticated client, with the concurrency slot that its lookup occupies.
struct Admitted<'a> {
    client: Visible,
    _place: SemaphorePermit<'a>,
}

/// What was answered under this id. On the listener for operators, of any client, with every call and its price.
#[utoipa::path(get, path = "/v1/verifications/{id}", tag = "verify", operation_id = "verification",
    security(("client_key" = [])),
    params(("id" = Uuid, Path, description = "A `verification_id`")),
    responses((status = 200, description = "It is in the ledger", body = Verification))
)]
pub(in crate::server) async fn one(
    State(records): State<Arc<Records>>,
    mut scope: RequestScope,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let result = caught(pin!(async {
        let admitted = admit(&records, &parts, &mut scope)?;
        lookup::one(&records.pipeline, &parts, &admitted.client).await
    }))
    .await;
    scope.respond(result)
}

/// The client's answers, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(get, path = "/v1/verifications", tag = "verify", operation_id = "verifications",
    security(("client_key" = [])),
    params(PageQuery),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(in crate::server) async fn page(
    State(records): State<Arc<Records>>,
    mut scope: RequestScope,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let result = caught(pin!(async {
        let admitted = admit(&records, &parts, &mut scope)?;
        lookup::page(&records.pipeline, &parts, admitted.client).await
    }))
    .await;
    scope.respond(result)
}

/// The client's answers about one person, the newest first. On the listener for operators, those of all clients.
#[utoipa::path(post, path = "/v1/verifications/search", tag = "verify", operation_id = "search_verifications",
    security(("client_key" = [])),
    params(CursorQuery),
    request_body(content = SearchRequest),
    responses((status = 200, description = "A page of them", body = Page))
)]
pub(in crate::server) async fn search(
    State(records): State<Arc<Records>>,
    mut scope: RequestScope,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let result = caught(pin!(async {
        let admitted = admit(&records, &parts, &mut scope)?;
        lookup::search(&records.pipeline, &parts, body, admitted.client, &mut None).await
    }))
    .await;
    scope.respond(result)
}

/// The receipt of an answer: a compact JWS (Ed25519, `typ` `idgate-receipt+jwt`) whose claims are the verification id
/// (`jti`), the time (`iat`), `verdict`, `provider`, `provider_request_id`, `verified_at`, `source`, `client`, `purpose`,
/// `reference`, and `subject` with `method`, `salt` and `digest`. `docs/receipts.md` says how to verify one. On the listener for
/// operators, of any client.
#[utoipa::path(get, path = "/v1/verifications/{id}/receipt", tag = "verify", operation_id = "receipt",
    security(("client_key" = [])),
    params(("id" = Uuid, Path, description = "A `verification_id`")),
    responses((status = 200, description = "The same whenever it is asked for", body = String,
        content_type = "application/jose"))
)]
pub(in crate::server) async fn receipt(
    State(records): State<Arc<Records>>,
    mut scope: RequestScope,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let result = caught(pin!(async {
        let admitted = admit(&records, &parts, &mut scope)?;
        lookup::receipt(&records.pipeline, &parts, &admitted.client).await
    }))
    .await;
    scope.respond(result)
}

/// The public keys of receipts, former ones too (RFC 7517). For everybody.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "verify", operation_id = "receipt_keys",
    security(()),
    responses((status = 200, description = "All that receipts were signed with", body = Object,
        content_type = "application/jwk-set+json"))
)]
pub(in crate::server) async fn published(
    State(records): State<Arc<Records>>,
    scope: RequestScope,
    request: Request,
) -> Response {
    let pipeline = &records.pipeline;
    let fits = pipeline::check_head(request.method(), request.uri(), request.headers(), pipeline.max_header_bytes);
    scope.respond(fits.map(|()| {
        let mut response = Response::new(Body::from(pipeline.current.load().receipts.published()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        response
    }))
}

pub(in crate::server) async fn one_of_all(
    State(records): State<Arc<Records>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Response, Refused> {
    let parts = request.into_parts().0;
    let answer = lookup::one(&records.pipeline, &parts, &Visible::All).await;
    let operation = Operation { verification: verification_in(parts.uri.path()), ..by(&operator, "verification") };
    recorded(&records, operation, answer).await
}

pub(in crate::server) async fn page_of_all(
    State(records): State<Arc<Records>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Response, Refused> {
    let answer = lookup::page(&records.pipeline, &request.into_parts().0, Visible::All).await;
    recorded(&records, by(&operator, "verifications"), answer).await
}

pub(in crate::server) async fn search_in_all(
    State(records): State<Arc<Records>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let mut digest = None;
    let answer = lookup::search(&records.pipeline, &parts, body, Visible::All, &mut digest).await;
    let key = records.pipeline.digest_key.id().to_owned();
    let subject = digest.map(|digest| Subject { key, digest });
    recorded(&records, Operation { subject, ..by(&operator, "search") }, answer).await
}

pub(in crate::server) async fn receipt_of_all(
    State(records): State<Arc<Records>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Response, Refused> {
    let parts = request.into_parts().0;
    let answer = lookup::receipt(&records.pipeline, &parts, &Visible::All).await;
    let operation = Operation { verification: verification_in(parts.uri.path()), ..by(&operator, "receipt") };
    recorded(&records, operation, answer).await
}

fn by(operator: &Operator, action: &str) -> Operation {
    Operation { action: action.to_owned(), operator: operator.name.to_string(), ..Operation::default() }
}

fn verification_in(path: &str) -> Option<Uuid> {
    path.split('/').find_map(|part| Uuid::try_parse(part).ok())
}

/// Records a look-up of an operator, or its refusal, before it is answered.
async fn recorded(
    records: &Records,
    operation: Operation,
    answer: Result<Response, Refused>,
) -> Result<Response, Refused> {
    let outcome = answer.as_ref().map_or_else(|problem| problem.code().as_str(), |_| "answered").to_owned();
    records.pipeline.ledger.record(|id, at_ms| Operation { id, at_ms, outcome, ..operation }).await;
    answer
}

/// Takes a concurrency slot, identifies the client and checks its rate limit.
fn admit<'a>(records: &'a Records, parts: &request::Parts, scope: &mut RequestScope) -> Result<Admitted<'a>, Refused> {
    let pipeline = &records.pipeline;
    let place = pipeline.lookups.try_acquire().map_err(|_| pipeline::overloaded())?;
    let now = pipeline.current.load();
    let caller = now.clients.identify(parts, pipeline.clock.now())?;
    let client = pipeline::admit(scope, caller)?;
    pipeline::check_head(&parts.method, &parts.uri, &parts.headers, pipeline.max_header_bytes)?;
    Ok(Admitted { client: Visible::Client(Arc::clone(&client.name)), _place: place })
}
