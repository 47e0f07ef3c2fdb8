//! The routes that set faults and show counters: `PUT` and `DELETE /sandbox/{provider}/fault`,
//! `GET /sandbox/{provider}/calls`, `GET /sandbox/people`.
//!
//! Invariant: an error is a problem document that names the remedy. People are shown only if they are on the
//! synthetic list: somebody may have asked a sandbox about a real person.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use serde::Serialize;

use super::handle::{NotSet, SandboxHandle};
use super::people::Person;

pub(super) fn router(handle: SandboxHandle) -> Router {
    Router::new()
        .route("/sandbox/people", get(people))
        .route("/sandbox/{provider}/calls", get(calls))
        .route("/sandbox/{provider}/fault", put(set_fault).delete(clear_fault))
        .with_state(handle)
}

#[derive(Serialize)]
struct PersonShown<'a> {
    name: &'a str,
    id_number: &'a str,
    note: &'a str,
}

impl<'a> From<&'a Person> for PersonShown<'a> {
    fn from(person: &'a Person) -> Self {
        // Synthetic people may be shown.
        Self { name: person.name.expose(), id_number: person.id_number.expose(), note: person.note }
    }
}

#[derive(Serialize)]
struct CallsShown<'a> {
    provider: &'a str,
    calls: u64,
    refused: u64,
    verdicts: u64,
    billed: u64,
    people: Vec<CallsAbout<'a>>,
}

#[derive(Serialize)]
struct CallsAbout<'a> {
    name: &'a str,
    id_number: &'a str,
    calls: u64,
}

#[derive(Serialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
}

impl IntoResponse for NotSet {
    fn into_response(self) -> Response {
        let (status, title, code) = match self {
            NotSet::NoProvider(_) => (StatusCode::NOT_FOUND, "No such provider in the sandbox", "not_found"),
            NotSet::NotUnderstood(_) => (StatusCode::BAD_REQUEST, "Not a fault of this provider", "malformed_request"),
            NotSet::NoEcho | NotSet::NoEndpoint(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "This provider cannot fail like that", "unsupported_fault")
            }
            NotSet::PortLost(_) => (StatusCode::SERVICE_UNAVAILABLE, "The sandbox lost a port", "port_lost"),
        };
        let detail = self.to_string();
        let problem = Problem { kind: "about:blank", title, status: status.as_u16(), code, detail };
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
    }
}

async fn set_fault(
    State(handle): State<SandboxHandle>,
    Path(provider): Path<String>,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    handle.set_fault_json(&provider, &body).map(|()| StatusCode::NO_CONTENT)
}

async fn clear_fault(State(handle): State<SandboxHandle>, Path(provider): Path<String>) -> Result<StatusCode, NotSet> {
    handle.clear_fault(&provider).map(|()| StatusCode::NO_CONTENT)
}

async fn calls(State(handle): State<SandboxHandle>, Path(provider): Path<String>) -> Result<Response, NotSet> {
    let tally = handle.simulator(&provider)?.tally();
    let people = handle.people().iter().map(|person| {
        let (name, id_number) = (person.name.expose(), person.id_number.expose());
        CallsAbout { name, id_number, calls: tally.calls_of(id_number) }
    });
    let shown = CallsShown {
        provider: &provider,
        calls: tally.calls,
        refused: tally.refused,
        verdicts: tally.verdicts,
        billed: tally.billed,
        people: people.filter(|about| about.calls > 0).collect(),
    };
    Ok(Json(shown).into_response())
}

async fn people(State(handle): State<SandboxHandle>) -> Response {
    Json(handle.people().iter().map(PersonShown::from).collect::<Vec<_>>()).into_response()
}
