//! What an operator may say with an action: why, and until when. The body may be left out.

use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use jiff::{SpanRelativeTo, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::code::Code;
use super::problem::{Problem, Refused};
use super::{body, headers};
use crate::domain::disclosure::may_hold_number;
use crate::server::auth::key_config::holds_key;
use crate::server::log_level::Level;

/// The longest reason, in characters.
const MOST_REASON: usize = 200;
const MOST_BODY: usize = 4096;
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an operator does something.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ReasonRequest {
    /// For the ledger and the log: at most 200 printable ASCII characters. No person: ID numbers are refused.
    #[schema(example = "ticket 4711", min_length = 1, max_length = 200)]
    pub(in crate::server) reason: Option<String>,
}

/// Why, and until when, a provider is isolated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct IsolateRequest {
    /// For the ledger and the log: at most 200 printable ASCII characters. No person: ID numbers are refused.
    #[schema(example = "ticket 4711", min_length = 1, max_length = 200)]
    reason: Option<String>,
    /// When it ends by itself: a time (RFC 3339) or a duration. Without it, when the provider is restored.
    #[schema(example = "2h")]
    until: Option<String>,
}

/// A checked [`IsolateRequest`].
pub(in crate::server) struct Isolate {
    pub(in crate::server) reason: Option<String>,
    pub(in crate::server) until: Option<Timestamp>,
}

/// Another level of the log. One of `for` and `until` is needed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct LogLevelRequest {
    #[schema(value_type = Level)]
    level: String,
    /// For how long: at most an hour.
    #[schema(example = "10m")]
    r#for: Option<String>,
    /// Until when: a time (RFC 3339), at most an hour away.
    until: Option<String>,
    /// For the ledger and the log: at most 200 printable ASCII characters. No person: ID numbers are refused.
    #[schema(example = "ticket 4711", min_length = 1, max_length = 200)]
    reason: Option<String>,
}

/// A checked [`LogLevelRequest`].
pub(in crate::server) struct SetLevel {
    pub(in crate::server) level: Level,
    pub(in crate::server) until: Timestamp,
    pub(in crate::server) reason: Option<String>,
}

/// Reads a level, and for how long it holds.
///
/// # Errors
/// `unsupported_media_type` or `malformed_request`.
pub(in crate::server) async fn level(
    headers: &HeaderMap,
    body: Body,
    now: Timestamp,
    longest: Duration,
) -> Result<SetLevel, Refused> {
    let LogLevelRequest { level, r#for, until, reason } = read(headers, body).await?;
    let level =
        level.parse().map_err(|_| malformed("/level", "bad_level", "must be error, warn, info, debug or trace"))?;
    let (pointer, text) = match (r#for, until) {
        (Some(text), None) => ("/for", text),
        (None, Some(text)) => ("/until", text),
        _ => return Err(malformed("", "bad_body", "must have either `for`, such as 10m, or `until`, a time")),
    };
    let until = end_at(pointer, &text, now)?;
    if until.duration_since(now).unsigned_abs() > longest {
        return Err(malformed(pointer, "too_long", "must be at most an hour away, so that no level is forgotten"));
    }
    Ok(SetLevel { level, until, reason: check_reason(reason)? })
}

/// Reads an optional reason.
///
/// # Errors
/// `unsupported_media_type` or `malformed_request`.
pub(in crate::server) async fn reason(headers: &HeaderMap, body: Body) -> Result<Option<String>, Refused> {
    let ReasonRequest { reason } = read(headers, body).await?;
    check_reason(reason)
}

/// Reads an optional reason and an optional end.
///
/// # Errors
/// `unsupported_media_type` or `malformed_request`.
pub(in crate::server) async fn isolate(headers: &HeaderMap, body: Body, now: Timestamp) -> Result<Isolate, Refused> {
    let IsolateRequest { reason, until } = read(headers, body).await?;
    let until = until.map(|text| end(&text, now)).transpose()?;
    Ok(Isolate { reason: check_reason(reason)?, until })
}

async fn read<T: Default + for<'de> Deserialize<'de>>(headers: &HeaderMap, body: Body) -> Result<T, Refused> {
    let bytes = body::read(body, MOST_BODY, BODY_TIMEOUT).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    headers::require_json(headers)?;
    // Not serde's own text, which may quote what was sent.
    let detail = "must be a JSON object of strings, with no member that is unknown here";
    serde_json::from_slice(&bytes).map_err(|_| malformed("", "bad_body", detail))
}

/// Checks a reason, which will be in the ledger and in the log.
///
/// # Errors
/// `malformed_request`.
pub(in crate::server) fn check_reason(reason: Option<String>) -> Result<Option<String>, Refused> {
    let Some(reason) = reason else { return Ok(None) };
    if reason.is_empty() || reason.len() > MOST_REASON {
        return Err(malformed("/reason", "bad_length", "must have 1 to 200 characters"));
    }
    if !reason.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(malformed("/reason", "bad_character", "may hold printable ASCII characters only; name nobody"));
    }
    if may_hold_number(&reason) {
        return Err(malformed("/reason", "holds_id_number", "holds an ID number, and would carry it into records"));
    }
    if holds_key(&reason) {
        return Err(malformed("/reason", "holds_key", "holds a key, and would carry it into records"));
    }
    Ok(Some(reason))
}

fn end(text: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    end_at("/until", text, now)
}

fn end_at(pointer: &str, text: &str, now: Timestamp) -> Result<Timestamp, Refused> {
    let by_duration = || {
        let span: jiff::Span = text.parse().ok()?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        now.checked_add(length).ok()
    };
    let until = text.parse::<Timestamp>().ok().or_else(by_duration).filter(|until| *until > now);
    let detail = "must be a time to come, such as 2026-12-01T08:00:00+08:00, or a duration, such as 2h";
    until.ok_or_else(|| malformed(pointer, "bad_time", detail))
}

fn malformed(pointer: &str, reason: &'static str, detail: &str) -> Refused {
    Box::new(Problem::new(Code::MalformedRequest).with_error(pointer, reason, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_carries_no_person_and_no_key() {
        for bad in ["", "张三", "a\nb", "about 11010519491231002X", "110105-19491231-002x", &"x".repeat(201)] {
            assert!(check_reason(Some(bad.to_owned())).is_err(), "{bad:?}");
        }
        for good in ["ticket 4711", "arrears; see mail of 11-28"] {
            assert_eq!(check_reason(Some(good.to_owned())).unwrap().as_deref(), Some(good));
        }
        let now = Timestamp::UNIX_EPOCH;
        let hour = now + Duration::from_secs(3600);
        for good in ["1h", "PT1H", "1970-01-01T01:00:00Z", "1970-01-01T09:00:00+08:00"] {
            assert_eq!(end(good, now).unwrap(), hour, "{good}");
        }
        for bad in ["", "soon", "-1h", "1969-12-31T00:00:00Z", "0s", "99999999999h"] {
            assert!(end(bad, now).is_err(), "{bad}");
        }
    }
}
