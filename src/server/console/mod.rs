//! The console: web pages for operators on the admin listener, under `/console/`. Off by default.
//!
//! Pages are built on the server from compile-time templates; one style sheet and one small module of script are
//! embedded. Reading works without the script. What changes something is done by the same routes that programs use:
//! the console sends them a request in the operator's name, so that rights, records and logs are theirs.
//!
//! Invariants: nothing about a person is in an address, a cookie or a log line; no page answers a form about a person
//! (`post_redirect_get`), so that no browser keeps its body; each form that is sent carries the token
//! of its session (`form` reads no other); every page is checked against the roles of the operator (`admission`), by the
//! one table in `auth::roles`.

mod admission;
mod answered;
mod answers;
mod ask;
mod assets;
mod attention;
mod changes;
mod chart;
mod clients;
mod config;
mod export;
mod form;
mod frame;
mod inner;
mod kept;
mod layout;
mod money;
mod money_history;
mod money_period;
mod overview;
mod period;
mod post_redirect_get;
mod providers;
mod question;
mod reconciled;
mod reconciliation;
mod search;
mod shown;
mod sign_in;
mod sought;
mod state;
mod visitor;

pub use config::Config;
pub use reconciled::{Difference, Reconcile, Reconciled};
pub use state::Console;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderValue, header};

/// The routes below `/console`, with the sign-in page.
pub(in crate::server) fn routes(console: Arc<Console>) -> Router {
    let pages = Router::new()
        .route("/console/", get(overview::page))
        .route("/console/ask", get(ask::page).post(ask::ask))
        .route("/console/ask/answer/{id}", get(ask::answer))
        .route("/console/ask/fault", post(ask::fault))
        .route("/console/providers", get(providers::page))
        .route("/console/providers/{provider}/isolate", post(providers::isolate))
        .route("/console/providers/{provider}/restore", post(providers::restore))
        .route("/console/answers", get(answers::page).post(answers::search))
        .route("/console/answers/export", post(export::export))
        .route("/console/answers/found/{id}", get(answers::found))
        .route("/console/answers/{id}", get(answers::one))
        .route("/console/answers/{id}/receipt", get(answers::receipt))
        .route("/console/money", get(money::page))
        .route(
            "/console/money/reconcile",
            post(reconciliation::reconcile).layer(DefaultBodyLimit::max(reconciliation::MOST_FORM)),
        )
        .route("/console/clients", get(clients::page))
        .route("/console/changes", get(changes::page).post(changes::search))
        .route("/console/sign-out", post(sign_in::sign_out))
        .layer(from_fn(admission::admit))
        .layer(from_fn(post_redirect_get::never_a_page))
        .with_state(Arc::clone(&console));
    let open = Router::new()
        .route("/console", get(sign_in::start))
        .route("/console/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .with_state(console)
        .route("/console/not-done/{status}", get(post_redirect_get::not_done))
        .route("/console/console.css", get(assets::style))
        .route("/console/console.js", get(assets::script))
        .route("/console/icon.svg", get(assets::icon));
    pages.merge(open).layer(map_response(kept_nowhere))
}

/// No cache keeps an answer, unless it says so itself.
async fn kept_nowhere(mut response: Response) -> Response {
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
