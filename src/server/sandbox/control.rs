//! Control routes: `PUT` and `DELETE /sandbox/{provider}/fault` set and clear a fault, `GET` tells its kind.
//! `GET /sandbox/{provider}/calls` shows call stats, `GET /sandbox/people` lists the people. For temporary credentials there are `GET` and
//! `DELETE /sandbox/credentials`, and `PUT` and `DELETE /sandbox/credentials/{place}/fault`.
//!
//! Invariant: every error is a problem document that says how to fix the request. Only people on the synthetic list are
//! shown, because a caller may have queried the sandbox about a real person.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use bytes::Bytes;
use serde::Serialize;

use super::credential_places::PlaceFault;
use super::fault::NotSet;
use super::handle::SandboxHandle;
use super::people::Person;
use crate::providers::temporary::Place;

/// The routes under `/sandbox`, for the admin listener.
pub fn router(handle: SandboxHandle) -> Router {
    Router::new()
        .route("/sandbox/people", get(people))
        .route("/sandbox/credentials", get(issued).delete(end_issued))
        .route("/sandbox/credentials/{place}/fault", put(set_place_fault).delete(clear_place_fault))
        .route("/sandbox/{provider}/calls", get(calls))
        .route("/sandbox/{provider}/fault", get(fault).put(set_fault).delete(clear_fault))
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
        // These people are synthetic, so exposing them is safe.
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

async fn fault(State(handle): State<SandboxHandle>, Path(provider): Path<String>) -> Result<Response, NotSet> {
    let kind = handle.simulator(&provider)?.kind_of_fault();
    Ok(Json(serde_json::json!({ "kind": kind })).into_response())
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
    let call_stats = handle.simulator(&provider)?.call_stats();
    let people = handle.people().iter().map(|person| {
        let (name, id_number) = (person.name.expose(), person.id_number.expose());
        CallsAbout { name, id_number, calls: call_stats.calls_of(id_number) }
    });
    let shown = CallsShown {
        provider: &provider,
        calls: call_stats.calls,
        refused: call_stats.refused,
        verdicts: call_stats.verdicts,
        billed: call_stats.billed,
        people: people.filter(|about| about.calls > 0).collect(),
    };
    Ok(Json(shown).into_response())
}

#[derive(Serialize)]
struct PlaceShown {
    url: String,
    requests: u64,
}

/// Lists the issuing services and the number of credentials issued.
async fn issued(State(handle): State<SandboxHandle>) -> Response {
    let issuer = handle.issuer();
    let place = |place: &&'static Place| {
        let url = format!("http://{}{}", issuer.address(place.name).ok()?, place.path);
        Some((place.name, PlaceShown { url, requests: issuer.requests(place.name) }))
    };
    let places: BTreeMap<_, _> = issuer.places().iter().filter_map(place).collect();
    Json(serde_json::json!({"issued": issuer.issued(), "places": places})).into_response()
}

/// Expires all issued credentials.
async fn end_issued(State(handle): State<SandboxHandle>) -> StatusCode {
    handle.issuer().end_all();
    StatusCode::NO_CONTENT
}

async fn set_place_fault(
    State(handle): State<SandboxHandle>,
    Path(place): Path<String>,
    body: Bytes,
) -> Result<StatusCode, NotSet> {
    let fault = serde_json::from_slice::<PlaceFault>(&body).map_err(|_| {
        let advice = "Write one of \"down\", \"hang\", \"no_tokens\", {\"status\": 500}, {\"lie\": \"garbage\"}; lies are \
                      garbage, not_success, missing_field, ended.";
        NotSet::NotUnderstood(advice.to_owned())
    })?;
    handle.issuer().set_place_fault(place_of(&handle, &place)?, Some(fault))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_place_fault(
    State(handle): State<SandboxHandle>,
    Path(place): Path<String>,
) -> Result<StatusCode, NotSet> {
    handle.issuer().set_place_fault(place_of(&handle, &place)?, None)?;
    Ok(StatusCode::NO_CONTENT)
}

fn place_of(handle: &SandboxHandle, name: &str) -> Result<&'static str, NotSet> {
    let names = || handle.issuer().places().iter().map(|place| place.name);
    names().find(|known| *known == name).ok_or_else(|| NotSet::NoProvider(names().collect::<Vec<_>>().join(", ")))
}

async fn people(State(handle): State<SandboxHandle>) -> Response {
    Json(handle.people().iter().map(PersonShown::from).collect::<Vec<_>>()).into_response()
}
