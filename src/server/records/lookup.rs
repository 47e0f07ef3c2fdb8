//! Looks up answers in the ledger: by id (also as a receipt), in pages, and by person.
//!
//! Invariants: nothing here calls a provider. An answer of another client looks like one that does not exist. A cursor
//! is a position in the ledger, so new entries do not shift the pages. A page takes a bounded time, however few answers
//! its filters match.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header, request};
use serde::Serialize;
use uuid::Uuid;

use super::query::{Query, cursor};
use super::receipt;
use super::verification::{Behind, CallOnRecord, Page, Verification};
use crate::domain::clock::Clock;
use crate::providers::DRIVERS;
use crate::server::http::body_reader::VerifyBody;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::server::http::{body, headers};
use crate::server::pipeline::{self, Pipeline};
use crate::storage::ledger::{Answer, Call};

/// Number of answers on a page.
const PAGE: usize = 100;

/// The pauses after which an answer of another replica is looked for again.
const LOOK_AGAIN: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(500)];

/// For how long after its question began an answer may be on its way into the record.
const YOUNG_SECONDS: u64 = 60;

/// Which answers a caller may see.
#[derive(Debug, Clone)]
pub(super) enum Visible {
    /// Only this client's.
    Client(Arc<str>),
    /// All clients', for operators.
    All,
}

/// Returns the answer whose id ends the path. Operators also get the calls of its flight and their prices.
pub(super) async fn one(pipeline: &Pipeline, parts: &request::Parts, visible: &Visible) -> Result<Response, Refused> {
    accept_json(&parts.headers)?;
    need_ledger(pipeline)?;
    let answer = find(pipeline, parts.uri.path(), visible).await?;
    Ok(json(&with_calls(pipeline, answer, visible).await?))
}

/// Returns the receipt of the answer whose id precedes `/receipt`.
pub(super) async fn receipt(
    pipeline: &Pipeline,
    parts: &request::Parts,
    visible: &Visible,
) -> Result<Response, Refused> {
    if !headers::accepts(&parts.headers, receipt::MEDIA_TYPE) {
        let detail = "a receipt is application/jose; accept that, or leave the header out";
        return Err(Box::new(Problem::new(Code::NotAcceptable).with_error("", "not_jose", detail)));
    }
    let now = pipeline.current.load();
    // Checked first, because it does not depend on the answer.
    if !now.receipts.can_sign() {
        return Err(receipt::no_key());
    }
    need_ledger(pipeline)?;
    let path = parts.uri.path();
    let answer = find(pipeline, path.strip_suffix("/receipt").unwrap_or(path), visible).await?;
    let jws = receipt::sign(&now.receipts, &pipeline.digest_key, &answer)?;
    Ok(document(receipt::MEDIA_TYPE, jws.into_bytes()))
}

/// Returns a page of the answers that match the query, newest first.
pub(super) async fn page(pipeline: &Pipeline, parts: &request::Parts, visible: Visible) -> Result<Response, Refused> {
    accept_json(&parts.headers)?;
    need_ledger(pipeline)?;
    let query = Query::parse(parts.uri.query().unwrap_or_default(), true)?;
    if let Some(provider) = &query.wanted.provider {
        know(pipeline, provider)?;
    }
    read_page(pipeline, query, visible).await
}

/// Returns a page of the answers about the person in the body, newest first.
pub(super) async fn search(
    pipeline: &Pipeline,
    parts: &request::Parts,
    body: Body,
    visible: Visible,
    digest: &mut Option<String>,
) -> Result<Response, Refused> {
    accept_json(&parts.headers)?;
    need_ledger(pipeline)?;
    let mut query = Query::parse(parts.uri.query().unwrap_or_default(), false)?;
    // Told to the caller also if the look-up fails.
    digest.clone_from(&Some(digest_in(pipeline, parts, body).await?));
    query.wanted.subject.clone_from(digest);
    read_page(pipeline, query, visible).await
}

/// Refuses a provider that no answer can be by, instead of walking over all of them in vain.
fn know(pipeline: &Pipeline, provider: &str) -> Result<(), Refused> {
    let configured = pipeline.current.load().runtime.status();
    let drivers = DRIVERS.iter().map(|driver| driver.name);
    let known: BTreeSet<&str> = configured.iter().map(|status| &*status.name).chain(drivers).collect();
    if known.contains(provider) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let problem = Problem::new(Code::MalformedRequest);
    let detail = format!("is no provider; known are {known}");
    Err(Box::new(problem.with_error("/provider", "unknown_provider", &detail)))
}

async fn read_page(pipeline: &Pipeline, mut query: Query, visible: Visible) -> Result<Response, Refused> {
    if let Visible::Client(client) = visible {
        query.wanted.client = Some(client.to_string());
    }
    let page = pipeline.ledger.page(&query.wanted, query.cursor, PAGE).await;
    let (found, next) = page.map_err(|_| unreadable())?;
    let behind = pipeline.ledger.behind().await.map_err(|_| unreadable())?;
    Ok(json(&Page {
        verifications: found.into_iter().map(Into::into).collect(),
        next_cursor: next.map(cursor),
        behind: behind.into_iter().map(Behind::from).collect(),
    }))
}

fn accept_json(head: &HeaderMap) -> Result<(), Refused> {
    if headers::accepts_json(head) { Ok(()) } else { Err(Box::new(Problem::new(Code::NotAcceptable))) }
}

fn need_ledger(pipeline: &Pipeline) -> Result<(), Refused> {
    if pipeline.ledger.is_on() {
        return Ok(());
    }
    let detail = "this gateway keeps no ledger; its operator names one with ledger.file";
    Err(Box::new(Problem::new(Code::NotFound).with_error("", "no_ledger", detail)))
}

/// Finds the answer whose id ends the path.
async fn find(pipeline: &Pipeline, path: &str, visible: &Visible) -> Result<Answer, Refused> {
    let unknown = || {
        let detail = "this client has no answer of this id in the ledger; what is too old is removed from it";
        Box::new(Problem::new(Code::NotFound).with_error("", "unknown_verification", detail))
    };
    let id = path.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(unknown)?;
    let mut found = pipeline.ledger.answer(id).await.map_err(|_| unreadable())?;
    // Another replica may have answered a moment ago.
    let mut again = LOOK_AGAIN.iter();
    while found.is_none()
        && pipeline.ledger.is_shared()
        && is_young(id, &pipeline.clock)
        && let Some(pause) = again.next()
    {
        pipeline.shared.hurry();
        tokio::time::sleep(*pause).await;
        found = pipeline.ledger.answer(id).await.map_err(|_| unreadable())?;
    }
    let found = found.filter(|found| match visible {
        Visible::Client(client) => *found.client == **client,
        Visible::All => true,
    });
    found.ok_or_else(unknown)
}

/// Whether its question may have been answered so recently that the record lacks the answer. (Its id is of the begin.)
fn is_young(id: Uuid, clock: &Clock) -> bool {
    let Some((seconds, _)) = id.get_timestamp().map(|at| at.to_unix()) else { return false };
    clock.now().as_second().abs_diff(i64::try_from(seconds).unwrap_or_default()) < YOUNG_SECONDS
}

/// Builds the document of an answer, for operators with the calls of its flight.
async fn with_calls(pipeline: &Pipeline, answer: Answer, visible: &Visible) -> Result<Verification, Refused> {
    let calls = match (visible, answer.flight) {
        (Visible::All, Some(flight)) => Some(pipeline.ledger.calls(flight).await.map_err(|_| unreadable())?),
        _ => None,
    };
    let cost = |billed: &[&str]| {
        let of = |call: &&Call| billed.contains(&&*call.end.billed);
        calls.as_ref().map(|calls| calls.iter().filter(of).map(|call| call.end.price_micro_yuan).sum())
    };
    let (cost_micro_yuan, possible_cost_micro_yuan) = (cost(&["yes"]), cost(&["yes", "unknown"]));
    let calls = calls.map(|calls| calls.into_iter().map(CallOnRecord::from).collect());
    Ok(Verification { calls, cost_micro_yuan, possible_cost_micro_yuan, ..Verification::from(answer) })
}

/// Reads the person in the body and returns the ledger's digest of them.
async fn digest_in(pipeline: &Pipeline, parts: &request::Parts, body: Body) -> Result<String, Refused> {
    headers::require_json(&parts.headers)?;
    let now = pipeline.current.load();
    let bytes = body::read(body, now.limits.max_body_bytes, now.limits.body_timeout).await?;
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
    let today = pipeline.clock.today_in_china();
    let subject = pipeline::subject(now.rules, today, &body.name, &body.id_number)?;
    Ok(pipeline.digest_key.person(&subject).to_hex())
}

fn unreadable() -> Refused {
    Box::new(Problem::new(Code::LedgerUnavailable).with_retry_after(SOON))
}

fn json(value: &impl Serialize) -> Response {
    // Serializing a struct of strings and numbers cannot fail; if it did, an empty body would still be sent.
    document("application/json", serde_json::to_vec(value).unwrap_or_default())
}

fn document(media_type: &'static str, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
