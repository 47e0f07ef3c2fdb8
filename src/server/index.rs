//! `GET /` of both listeners: what each serves, for somebody who does not know the paths.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{Method, Uri};
use serde::Serialize;

use super::http::code::Code;
use super::http::problem::Problem;

/// What a listener serves.
#[derive(Serialize)]
struct Index {
    service: &'static str,
    listener: &'static str,
    /// Where the other listener is configured.
    other: &'static str,
    routes: &'static [Route],
}

#[derive(Serialize)]
struct Route {
    method: &'static str,
    path: &'static str,
    about: &'static str,
}

const fn route(method: &'static str, path: &'static str, about: &'static str) -> Route {
    Route { method, path, about }
}

const PUBLIC: &[Route] = &[
    route("POST", "/v1/verify", "asks whether a name and an ID number belong together"),
    route("GET", "/v1/verifications", "lists the answers that this client got"),
    route("GET", "/v1/verifications/{id}", "shows one answer"),
    route("POST", "/v1/verifications/search", "finds the answers about one person"),
    route("GET", "/v1/verifications/{id}/receipt", "shows the signed receipt of one answer"),
    route("GET", "/.well-known/jwks.json", "shows the public keys of receipts"),
];

const ADMIN: &[Route] = &[
    route("GET", "/livez", "tells whether the process is alive"),
    route("GET", "/readyz", "tells whether it takes requests"),
    route("GET", "/metrics", "shows the metrics, for Prometheus"),
    route("GET", "/v1/status", "shows providers, breakers, budgets and packages"),
    route("POST", "/v1/reload", "reads the configuration again"),
    route("POST", "/v1/providers/{provider}/isolate", "stops asking a provider"),
    route("POST", "/v1/providers/{provider}/restore", "asks it again"),
    route("POST", "/v1/subjects/forget", "forgets a person"),
    route("GET", "/v1/verifications", "lists the answers of all clients"),
    route("GET", "/v1/verifications/{id}", "shows one answer"),
    route("POST", "/v1/verifications/search", "finds the answers about one person"),
    route("GET", "/v1/verifications/{id}/receipt", "shows the signed receipt of one answer"),
    route("GET", "/docs/", "shows the documentation of the API"),
    route("GET", "/openapi.json", "shows the same for programs"),
];

/// Whether a request is for the index. `/` is also the path of two of the providers' protocols, which have a query or a
/// body.
fn is_asked(method: &Method, uri: &Uri) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && uri.path() == "/" && uri.query().is_none()
}

/// The index of the public listener, if the request is for it.
pub(super) fn public(method: &Method, uri: &Uri) -> Option<Response> {
    if !is_asked(method, uri) {
        return None;
    }
    let other = "the operators' routes are on `server.admin_listen`";
    Some(Json(Index { service: "idgate", listener: "public", other, routes: PUBLIC }).into_response())
}

/// The answer of the admin listener to all that it has no route for: its index, or `not_found`.
pub(super) async fn admin(method: Method, uri: Uri) -> Response {
    if !is_asked(&method, &uri) {
        return Problem::new(Code::NotFound).into_response();
    }
    let other = "questions go to POST /v1/verify on `server.listen`";
    Json(Index { service: "idgate", listener: "admin", other, routes: ADMIN }).into_response()
}
