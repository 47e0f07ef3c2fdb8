//! Every route of both listeners.
//!
//! To add a route: a line here, its handler in the folder of its edge, and its `utoipa::path` in the list in `openapi`.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use futures_util::FutureExt;
use futures_util::future::Either;
use http::{HeaderValue, Method, header};
use hyper::body::Incoming;
use tower_http::catch_panic::CatchPanicLayer;

use super::admin::{self, Admin};
use super::api::{self, Verify};
use super::auth::operator_gate::{self, OperatorGate};
use super::compat::{self, Edge};
use super::console::{self, Console};
use super::http::code::Code;
use super::http::page_headers;
use super::http::problem::Problem;
use super::http::recorder::{Audience, Recorder};
use super::http::request_scope::RequestScope;
use super::listener::{Answer, Routed};
use super::openapi::Side;
use super::records::forget::{self, Forget};
use super::records::{Records, handlers as records};
use super::{index, openapi, pipeline};

/// The state of the public listener's handlers.
#[derive(Debug)]
pub struct Public {
    pub verify: Arc<Verify>,
    /// Lookups and receipts.
    pub records: Arc<Records>,
    /// The providers' own protocols.
    pub compat: Arc<Edge>,
    /// Whether the documentation is shown here too, where it can be tried.
    pub has_documentation: bool,
}

/// The state of the admin listener's handlers.
#[derive(Debug)]
pub struct ForOperators {
    pub gate: OperatorGate,
    /// Health, metrics, status, reload and provider controls.
    pub admin: Arc<Admin>,
    /// Lookups in the answers of all clients.
    pub records: Arc<Records>,
    pub forget: Arc<Forget>,
    /// The web pages, if they are on.
    pub console: Option<Console>,
    /// Additional routes: the sandbox controls.
    pub more: Router,
}

/// The routes of the public listener. Nearly all requests are questions; they pass by the router, whose layers cost more
/// than half of what answering one from memory does.
#[derive(Debug, Clone)]
pub struct PublicRoutes {
    verify: Arc<Verify>,
    others: Router,
}

impl Answer for PublicRoutes {
    fn answer(self, request: http::Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response> + Send {
        let Self { verify, others } = self;
        if request.uri().path() == api::ROUTE && *request.method() == Method::POST {
            // A panic within the question is caught there; this is for its beginning and its end.
            let recorder = verify.recorder.clone();
            let answer = AssertUnwindSafe(api::handler::verify(verify, request)).catch_unwind();
            Either::Left(answer.map(move |answer| answer.unwrap_or_else(last_resort(recorder, Audience::Services))))
        } else {
            Either::Right(Box::pin(Routed(others.into_service::<Incoming>()).answer(request, peer)))
        }
    }
}

/// The routes of the public listener.
pub fn public(state: Public) -> PublicRoutes {
    let Public { verify, records, compat, has_documentation } = state;
    let (recorder, most) = (verify.recorder.clone(), verify.pipeline.max_header_bytes);
    let only = |allowed| {
        let recorder = recorder.clone();
        move |request: Request| wrong_method(recorder, most, allowed, request)
    };
    let of_records = Router::new()
        .route(records::ROUTE_ALL, get(records::page).fallback(only("GET,HEAD")))
        .route(records::ROUTE_ONE, get(records::one).fallback(only("GET,HEAD")))
        .route(records::ROUTE_SEARCH, post(records::search).fallback(only("POST")))
        .route(records::ROUTE_RECEIPT, get(records::receipt).fallback(only("GET,HEAD")))
        .route(records::ROUTE_KEYS, get(records::published).fallback(only("GET,HEAD")))
        .with_state(records);
    let others = Router::new()
        // The `POST` is above.
        .route(api::ROUTE, any(only("POST")))
        .merge(of_records)
        .merge(if has_documentation { public_documentation(recorder.clone(), most) } else { Router::new() })
        .fallback_service(Router::new().fallback(compat::answer).with_state(compat))
        .layer(CatchPanicLayer::custom(last_resort(recorder, Audience::Services)));
    PublicRoutes { verify, others }
}

/// The routes of the admin listener. Only the console's page to ask ever calls a provider.
pub fn for_operators(state: ForOperators) -> Router {
    let ForOperators { gate, admin, records, forget, console, more } = state;
    let last_resort = last_resort(gate.recorder.clone(), Audience::Operators);
    let last_resort = move |panic: Box<dyn Any + Send>| page_headers::add(last_resort(panic));
    let of_records = Router::new()
        .route(records::ROUTE_ALL, get(records::page_of_all))
        .route(records::ROUTE_ONE, get(records::one_of_all))
        .route(records::ROUTE_SEARCH, post(records::search_in_all))
        .route(records::ROUTE_RECEIPT, get(records::receipt_of_all))
        .with_state(records);
    let for_programs = Router::new()
        .route("/livez", get(admin::health::livez))
        .route("/readyz", get(admin::health::readyz))
        .route("/metrics", get(admin::health::metrics))
        .route("/v1/status", get(admin::status::status))
        .route("/v1/reload", post(admin::reload::reload))
        .route("/v1/log-level", post(admin::log_level::set))
        .route("/v1/changes", get(admin::changes::changes))
        .route("/v1/providers/{provider}/isolate", post(admin::providers::isolate))
        .route("/v1/providers/{provider}/restore", post(admin::providers::restore))
        .with_state(admin)
        .merge(of_records)
        .merge(Router::new().route("/v1/subjects/forget", post(forget::forget)).with_state(forget))
        .merge(openapi::page(Side::Admin))
        .merge(more);
    let of_console = console.map(|console| console::routes(Arc::new(console.with_inner(for_programs.clone()))));
    for_programs
        .merge(of_console.unwrap_or_default())
        .fallback(index::admin)
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed))
        .layer(from_fn_with_state(gate, operator_gate::pass))
        .layer(CatchPanicLayer::custom(last_resort))
}

/// The documentation, with a request scope and a limited head like every route of the public listener.
fn public_documentation(recorder: Recorder, most_head: usize) -> Router {
    let within_scope = move |request: Request, next: Next| {
        let recorder = recorder.clone();
        async move {
            let scope = RequestScope::unrouted(&recorder, &request);
            match pipeline::check_head(request.method(), request.uri(), request.headers(), most_head) {
                Ok(()) => scope.respond(Ok(next.run(request).await)),
                Err(problem) => scope.respond(Err(problem)),
            }
        }
    };
    openapi::page(Side::Public).layer(from_fn(within_scope))
}

/// Answers a request that panicked before it had a request scope. Later panics are caught within the scope.
fn last_resort(
    recorder: Recorder,
    audience: Audience,
) -> impl Fn(Box<dyn Any + Send>) -> Response + Clone + Send + Sync + 'static {
    move |_panic| RequestScope::unknown(&recorder, audience).respond(Err(Box::new(Problem::new(Code::Internal))))
}

/// Answers a request whose method the route does not support.
async fn wrong_method(recorder: Recorder, most_head: usize, allowed: &'static str, request: Request) -> Response {
    let scope = RequestScope::unrouted(&recorder, &request);
    let fits = pipeline::check_head(request.method(), request.uri(), request.headers(), most_head);
    let mut response = scope.respond(fits.and_then(|()| Err(Box::new(Problem::new(Code::MethodNotAllowed)))));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
