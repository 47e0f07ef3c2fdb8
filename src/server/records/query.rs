//! Parses the query parameters of a lookup.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::domain::verdict::Verdict;
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::storage::ledger::{Cursor, Wanted};

#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) wanted: Wanted,
    /// Only the answers after it.
    pub(super) cursor: Option<Cursor>,
}

/// The text of a cursor.
pub(super) fn cursor(cursor: Cursor) -> String {
    URL_SAFE_NO_PAD.encode(cursor.to_bytes())
}

impl Query {
    /// Parses the query. `filters` allows parameters besides the cursor.
    pub(super) fn parse(text: &str, filters: bool) -> Result<Self, Refused> {
        let mut query = Self::default();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let Self { wanted, cursor } = &mut query;
            let mistake = match &*name {
                _ if seen.iter().any(|one| *one == *name) => Some("occurs twice; send it once"),
                "cursor" => {
                    let bytes = URL_SAFE_NO_PAD.decode(&*value).ok();
                    *cursor = bytes.and_then(|bytes| Cursor::from_bytes(&bytes));
                    cursor.is_none().then_some("is no cursor of ours; send `next_cursor` as it was given")
                }
                "reference" if filters => {
                    let is_one = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
                    wanted.reference = is_one.then(|| value.to_string());
                    (!is_one).then_some("must have 1 to 128 visible ASCII characters")
                }
                "from" | "to" if filters => {
                    let at = value.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
                    *(if name == "from" { &mut wanted.from_ms } else { &mut wanted.until_ms }) = at;
                    at.is_none().then_some("must be a time such as 2026-11-22T08:00:00Z (RFC 3339)")
                }
                "provider" if filters => {
                    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                    let is_one = (1..=64).contains(&value.len()) && value.bytes().all(plain);
                    wanted.provider = is_one.then(|| value.to_string());
                    (!is_one).then_some("must be a provider's name: small letters, digits and _")
                }
                "verdict" if filters => {
                    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == value);
                    wanted.outcome = verdict.map(|verdict| verdict.as_str().to_owned());
                    verdict.is_none().then_some("must be match, mismatch or no_record")
                }
                _ => {
                    let known = if filters { "cursor, from, to, provider, reference and verdict" } else { "cursor" };
                    let detail = format!("the query has a parameter that is unknown here; this look-up takes {known}");
                    let problem = Problem::new(Code::MalformedRequest).with_error("", "unknown_parameter", &detail);
                    return Err(Box::new(problem));
                }
            };
            if let Some(detail) = mistake {
                let problem = Problem::new(Code::MalformedRequest);
                return Err(Box::new(problem.with_error(&format!("/{name}"), "bad_parameter", detail)));
            }
            seen.push(name.into_owned());
        }
        Ok(query)
    }
}
