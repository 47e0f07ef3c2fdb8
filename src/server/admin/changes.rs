//! `GET /v1/changes`: what operators did, from the ledger.
//!
//! Invariant: a document has no person. Whom an operator looked up or had forgotten is in the ledger as a digest only,
//! and is not told here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::state::Admin;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused, SOON};
use crate::storage::ledger::{Cursor, Operation, WantedChanges};

/// Number of changes on a page.
const PAGE: usize = 100;

/// The problems that only this route can return.
pub(in crate::server) const PROBLEMS: [Code; 2] = [Code::NotFound, Code::LedgerUnavailable];

/// Which changes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the documented form of what `Query::parse` reads")]
pub(in crate::server) struct ChangesQuery {
    /// By this operator.
    #[param(required = false, min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$", example = "oncall")]
    operator: String,
    /// Of this kind: `isolate`, `restore`, `reload`, `forget`, `log_level`, `verification`, `verifications`, `search`, `receipt` …
    #[param(required = false, min_length = 1, max_length = 64, pattern = "^[a-z0-9_]+$", example = "isolate")]
    action: String,
    /// Since this time (RFC 3339).
    #[param(required = false, format = DateTime)]
    from: String,
    /// Before this time (RFC 3339).
    #[param(required = false, format = DateTime)]
    to: String,
    /// Where the last page ended: its `next_cursor`.
    #[param(required = false, min_length = 1, max_length = 22, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: String,
}

/// Something that an operator did, or was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct Change {
    /// Its id in the ledger.
    id: Uuid,
    /// RFC 3339, in UTC.
    #[schema(format = DateTime)]
    at: String,
    /// The name in the configuration; `signal` or `file` for a reload without an operator, `local` where none is
    /// configured.
    operator: String,
    /// What was done.
    #[schema(example = "isolate")]
    action: String,
    /// What came of it, such as `isolated`; or the code of the problem.
    #[schema(example = "isolated")]
    outcome: String,
    /// Why, if the operator said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The provider that it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    provider: Option<String>,
    /// When it ends by itself (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
    /// The answer that was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verification: Option<Uuid>,
    /// The sections that a reload added, changed or removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sections: Vec<String>,
    /// The log level that was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "debug")]
    level: Option<String>,
}

/// A page of changes, newest first. It may be empty although more follow, after a long walk.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct ChangesPage {
    changes: Vec<Change>,
    /// For the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    wanted: WantedChanges,
    cursor: Option<Cursor>,
}

/// What operators did, newest first: isolations, reloads, look-ups, people forgotten, log levels. Needs a ledger. Nobody
/// who was looked up or forgotten is told.
#[utoipa::path(get, path = "/v1/changes", tag = "operate", params(ChangesQuery), responses(
    (status = 200, description = "A page of them", body = ChangesPage),
))]
pub(in crate::server) async fn changes(
    State(admin): State<Arc<Admin>>,
    uri: Uri,
) -> Result<Json<ChangesPage>, Refused> {
    let Query { wanted, cursor } = Query::parse(uri.query().unwrap_or_default())?;
    if !admin.ledger.is_on() {
        let detail = "this gateway keeps no ledger; its operator names one with ledger.file";
        return Err(Box::new(Problem::new(Code::NotFound).with_error("", "no_ledger", detail)));
    }
    let unreadable = |_| Box::new(Problem::new(Code::LedgerUnavailable).with_retry_after(SOON));
    let (found, next) = admin.ledger.changes(&wanted, cursor, PAGE).await.map_err(unreadable)?;
    let next_cursor = next.map(|next| URL_SAFE_NO_PAD.encode(next.to_bytes()));
    Ok(Json(ChangesPage { changes: found.into_iter().map(Change::from).collect(), next_cursor }))
}

impl From<Operation> for Change {
    fn from(operation: Operation) -> Self {
        let Operation { id, at_ms, client: _, outcome, action, operator, reason, provider, .. } = operation;
        let Operation { until_ms, subject: _, verification, sections, level, .. } = operation;
        let at = told(at_ms).unwrap_or_default();
        let until = until_ms.and_then(told);
        Self { id, at, operator, action, outcome, reason, provider, until, verification, sections, level }
    }
}

fn told(at_ms: i64) -> Option<String> {
    Timestamp::from_millisecond(at_ms).ok().map(|at| format!("{at:.3}"))
}

impl Query {
    fn parse(text: &str) -> Result<Self, Refused> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let Self { wanted, cursor } = &mut query;
            let word = || {
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                ((1..=64).contains(&value.len()) && value.bytes().all(plain)).then(|| value.to_string())
            };
            let (is_sound, how) = match &*name {
                _ if seen.iter().any(|one| *one == *name) => (false, "occurs twice; send it once"),
                "operator" | "action" => {
                    let word = word();
                    let is_sound = word.is_some();
                    *(if name == "operator" { &mut wanted.operator } else { &mut wanted.action }) = word;
                    (is_sound, "must be a word of small letters, digits and _")
                }
                "from" | "to" => {
                    let at = value.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
                    *(if name == "from" { &mut wanted.from_ms } else { &mut wanted.until_ms }) = at;
                    (at.is_some(), "must be a time such as 2026-11-22T08:00:00Z (RFC 3339)")
                }
                "cursor" => {
                    let bytes = URL_SAFE_NO_PAD.decode(&*value).ok();
                    *cursor = bytes.and_then(|bytes| Cursor::from_bytes(&bytes));
                    (cursor.is_some(), "is no cursor of ours; send `next_cursor` as it was given")
                }
                _ => {
                    let detail = "the query has a parameter that is unknown here; this page takes action, cursor, \
                                  from, operator and to";
                    let problem = Problem::new(Code::MalformedRequest).with_error("", "unknown_parameter", detail);
                    return Err(Box::new(problem));
                }
            };
            if !is_sound {
                let problem = Problem::new(Code::MalformedRequest);
                return Err(Box::new(problem.with_error(&format!("/{name}"), "bad_parameter", how)));
            }
            seen.push(name.into_owned());
        }
        Ok(query)
    }
}
