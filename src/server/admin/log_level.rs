//! `POST /v1/log-level`: another level of the log, until a time that comes soon.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::state::Admin;
use crate::server::audit::note;
use crate::server::auth::operators::Operator;
use crate::server::http::code::Code;
use crate::server::http::operation_body::{self, LogLevelRequest, SetLevel};
use crate::server::http::problem::{Problem, Refused};
use crate::storage::ledger::Operation;

/// The longest time: a level that is forgotten must not fill a disk.
pub(in crate::server) const LONGEST: Duration = Duration::from_hours(1);

/// The problems that only this route can return.
pub(in crate::server) const PROBLEMS: [Code; 3] =
    [Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType];

/// The level in force.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::server) struct LogLevelReply {
    #[schema(example = "debug")]
    level: &'static str,
    /// When the configured one is back (RFC 3339, UTC).
    #[schema(format = DateTime)]
    until: String,
}

/// Sets the level of the log on standard error until a time, at most an hour away; then the configured one is back. A level
/// finer than `info` is for idgate's own lines. At no level does a line have a name, a number or a secret.
#[utoipa::path(post, path = "/v1/log-level", tag = "operate", request_body(content = LogLevelRequest), responses(
    (status = 200, description = "Done", body = LogLevelReply),
))]
pub(in crate::server) async fn set(
    State(admin): State<Arc<Admin>>,
    Extension(operator): Extension<Arc<Operator>>,
    request: Request,
) -> Result<Json<LogLevelReply>, Refused> {
    let (parts, body) = request.into_parts();
    let now = admin.clock.now();
    let SetLevel { level, until, reason } = operation_body::level(&parts.headers, body, now, LONGEST).await?;
    let time = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    let word: &'static str = level.into();
    let is_set = admin.log_level.set(level, time);
    tracing::warn!(level = word, %until, operator = %operator.name, reason, "the log has another level");
    let outcome = if is_set { "changed" } else { Code::Internal.as_str() };
    let about = Operation {
        reason,
        level: Some(word.to_owned()),
        until_ms: Some(until.as_millisecond()),
        ..Operation::default()
    };
    note(&admin.ledger, &operator, "log_level", outcome, about).await;
    if !is_set {
        return Err(Box::new(Problem::new(Code::Internal)));
    }
    Ok(Json(LogLevelReply { level: word, until: told(until) }))
}

fn told(until: Timestamp) -> String {
    format!("{until:.3}")
}
