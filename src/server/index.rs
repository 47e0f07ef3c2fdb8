//! `GET /` of both listeners: what each serves, for somebody who does not know the paths. JSON, or a page for browsers.

use std::fmt::Write as _;

use axum::Json;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::Serialize;

use super::http::code::Code;
use super::http::page_headers;
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
    route("POST", "/v1/log-level", "sets the level of the log for a while"),
    route("GET", "/v1/changes", "lists what operators did"),
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

impl Index {
    fn to_response(&self, headers: &HeaderMap) -> Response {
        let mut response =
            if wants_page(headers) { Html(self.page()).into_response() } else { Json(self).into_response() };
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        page_headers::add(response)
    }

    fn page(&self) -> String {
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<title>idgate: {0} listener</title>\n<h1>idgate: {0} listener</h1>\n<ul>\n",
            self.listener
        );
        for Route { method, path, about } in self.routes {
            // A browser can follow what is read and has no gaps in its path.
            let is_link = *method == "GET" && !path.contains('{');
            let shown = if is_link { format!("<a href=\"{path}\">{path}</a>") } else { (*path).to_owned() };
            // Writing to a `String` cannot fail.
            let _ = writeln!(page, "<li><code>{method} {shown}</code> {about}");
        }
        let _ = writeln!(page, "</ul>\n<p>{}", self.other);
        page
    }
}

/// Whether the caller asks for a page by name, as browsers do.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split([',', ';'])).any(|range| range.trim().eq_ignore_ascii_case("text/html"))
}

/// The index of the public listener, if the request is for it.
pub(super) fn public(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    if !is_asked(method, uri) {
        return None;
    }
    let other = "the operators' routes are on `server.admin_listen`";
    Some(Index { service: "idgate", listener: "public", other, routes: PUBLIC }.to_response(headers))
}

/// The answer of the admin listener to all that it has no route for: its index, or `not_found`.
pub(super) async fn admin(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !is_asked(&method, &uri) {
        return Problem::new(Code::NotFound).into_response();
    }
    let other = "questions go to POST /v1/verify on `server.listen`";
    Index { service: "idgate", listener: "admin", other, routes: ADMIN }.to_response(&headers)
}
