//! Parses standard request headers and builds those of responses. Unknown directives are ignored, as their RFCs
//! require. A malformed header is refused where ignoring it could cost money.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use sfv::{Item, Parser};

use super::code::Code;
use super::header_text::HeaderText;
use super::problem::{Problem, Refused};
use crate::domain::disclosure::may_hold_number;
use crate::server::auth::key_config;
use crate::verify::{Freshness, Source};

/// `Idempotency-Key` (IETF draft).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whether the answer came from the verdict cache (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Which preference was honoured (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Marks a replayed answer.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The directives of `Cache-Control` (RFC 9111) that apply to a question.
///
/// # Errors
/// When `max-age` is no number of seconds. RFC 9111 (4.2.1) would take it for zero, and that makes a billed call.
pub fn freshness(headers: &HeaderMap) -> Result<Freshness, Refused> {
    let mut freshness = Freshness::default();
    for directive in directives(headers, &header::CACHE_CONTROL, ',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" => freshness.no_cache = true,
            "only-if-cached" => freshness.only_if_cached = true,
            "max-age" => {
                let Some(age) = seconds(value) else {
                    let detail = "the header Cache-Control has a max-age that is no number of seconds; write for \
                                  example max-age=60";
                    return Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "bad_max_age", detail)));
                };
                freshness.max_age = Some(freshness.max_age.map_or(age, |known: Duration| known.min(age)));
            }
            _ => {}
        }
    }
    Ok(freshness)
}

/// `Prefer: wait=N` (RFC 7240): how many seconds the caller is willing to wait.
pub fn patience(headers: &HeaderMap) -> Option<Duration> {
    directives(headers, &PREFER, ',').flat_map(|preference| preference.split(';')).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        let wanted = name.trim().eq_ignore_ascii_case("wait");
        wanted.then(|| seconds(value)).flatten()
    })
}

/// A number of seconds. A value that overflows becomes the maximum (RFC 9111, 1.2.2): it then accepts an answer of any
/// age, whereas treating it as invalid would cause a billed call.
fn seconds(value: &str) -> Option<Duration> {
    let text = value.trim().trim_matches('"');
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

/// The idempotency key, if the caller sent one.
///
/// # Errors
/// When it is empty, longer than 255 characters, or not visible ASCII. Ignoring such a key could bill a retry.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    // The draft defines a quoted string, but most callers leave the quotation marks out.
    let text = match text.starts_with('"') {
        true => Parser::new(text).parse::<Item>().ok().and_then(|item| Some(item.bare_item.as_string()?.to_string())),
        false => Some(text.to_owned()),
    };
    let is_sound = |text: &String| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(text) = text.filter(is_sound).filter(|_| second.is_none()) {
        return Ok(Some(text));
    }
    let detail = "the header Idempotency-Key must be sent once, with 1 to 255 visible ASCII characters, such as a UUID";
    Err(Box::new(Problem::new(Code::MalformedRequest).with_error("", "bad_idempotency_key", detail)))
}

/// Which of the headers are there that change how a question is answered, so that most need not be looked for.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct Sent {
    accept: bool,
    cache_control: bool,
    idempotency_key: bool,
    prefer: bool,
}

impl Sent {
    pub(in crate::server) fn of(headers: &HeaderMap) -> Self {
        let mut sent = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "accept" => sent.accept = true,
                "cache-control" => sent.cache_control = true,
                "idempotency-key" => sent.idempotency_key = true,
                "prefer" => sent.prefer = true,
                _ => {}
            }
        }
        sent
    }

    pub(in crate::server) fn accepts_json(self, headers: &HeaderMap) -> bool {
        !self.accept || accepts_json(headers)
    }

    /// # Errors
    /// As [`idempotency_key`].
    pub(in crate::server) fn idempotency_key(self, headers: &HeaderMap) -> Result<Option<String>, Refused> {
        if self.idempotency_key { idempotency_key(headers) } else { Ok(None) }
    }

    /// # Errors
    /// As [`freshness`].
    pub(in crate::server) fn freshness(self, headers: &HeaderMap) -> Result<Freshness, Refused> {
        if self.cache_control { freshness(headers) } else { Ok(Freshness::default()) }
    }

    pub(in crate::server) fn patience(self, headers: &HeaderMap) -> Option<Duration> {
        if self.prefer { patience(headers) } else { None }
    }
}

/// Size of the request head in bytes, in HTTP/1.1 form.
pub fn size(method: &Method, uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    // HTTP/2 carries the host in the target, HTTP/1.1 in a header.
    let host = uri.authority().map_or(0, |host| "host: \r\n".len() + host.as_str().len());
    // Request line: method, target, version and two spaces. Header lines: each with a colon, a space and a line end.
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    method.as_str().len() + target + host + "  HTTP/1.1\r\n".len() + lines + 2
}

/// The caller's request id, if it is safe to log: at most 128 of `A-Z a-z 0-9 - _ . :`, no run of 15 or more digits
/// (which could be an ID number), nothing that may be an ID number in another form, and nothing that looks like one of our
/// keys.
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let longest_digits = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    let sound = (1..=128).contains(&text.len()) && text.bytes().all(plain) && longest_digits < 15;
    let sound = sound && !may_hold_number(text) && !key_config::holds_key(text);
    sound.then(|| text.to_owned())
}

/// The trace id of a well-formed `traceparent` (W3C Trace Context), if it is safe to log.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_trace = trace.len() == 32 && trace.bytes().all(hex) && trace.bytes().any(|byte| byte != b'0');
    (is_trace && !may_hold_number(trace)).then_some(trace)
}

/// The caller's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) is_sampled: bool,
}

/// The caller's span of a well-formed `traceparent`, if no part of it may be an ID number.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let trace_id = trace_id(headers)?;
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (version, span, flags) = (parts.next()?, parts.nth(1)?, parts.next()?);
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_word = |text: &str, length| text.len() == length && text.bytes().all(hex);
    let ends = version != "00" || parts.next().is_none();
    let is_sound = is_word(version, 2) && version != "ff" && is_word(span, 16) && is_word(flags, 2) && ends;
    if !is_sound || may_hold_number(span) || span.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let (mut trace, mut id) = ([0; 16], [0; 8]);
    hex::decode_to_slice(trace_id, &mut trace).ok()?;
    hex::decode_to_slice(span, &mut id).ok()?;
    let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(Parent { trace, span: id, is_sampled })
}

pub fn accepts_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json")
}

/// Whether the caller accepts this media type, one of `application/…`. The most specific range decides (RFC 9110,
/// 12.5.1).
pub fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut ranges = directives(headers, &header::ACCEPT, ',').peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let weighed = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let how_specific = ["*/*", "application/*", wanted].iter().position(|range| *range == kind)?;
        Some((how_specific, !parts.any(is_no_quality)))
    });
    weighed.max().is_some_and(|(_, accepted)| accepted)
}

/// Whether a parameter of a range says "not acceptable", such as `q=0` or `Q=0.000`.
fn is_no_quality(parameter: &str) -> bool {
    let zero = |text: &str| text.starts_with('0') && text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    parameter.split_once('=').is_some_and(|(name, value)| name.trim().eq_ignore_ascii_case("q") && zero(value.trim()))
}

/// Requires a body in JSON and UTF-8.
///
/// # Errors
/// `unsupported_media_type`.
pub(in crate::server) fn require_json(headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers.get(header::CONTENT_TYPE);
    // How nearly every caller writes it.
    if kind.is_some_and(|kind| kind == "application/json") && headers.len() == headers.keys_len() {
        return Ok(());
    }
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !is_json {
        return Err(Box::new(Problem::new(Code::UnsupportedMediaType)));
    }
    require_utf8(headers, Code::UnsupportedMediaType)
}

/// Whether the body is said to be a form.
pub(in crate::server) fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded"))
}

/// Requires that no `Content-Type` names a charset other than UTF-8. A body in another charset may be valid UTF-8 by
/// chance, and would be asked and paid for as another name.
///
/// # Errors
/// `code`, with the reason `unsupported_charset`.
pub(in crate::server) fn require_utf8(headers: &HeaderMap, code: Code) -> Result<(), Refused> {
    let is_utf8 = |value: &HeaderValue| value.to_str().is_ok_and(|kind| charsets(kind).all(is_utf8_label));
    if headers.get_all(header::CONTENT_TYPE).iter().all(is_utf8) {
        return Ok(());
    }
    let detail = "the header Content-Type names a charset other than UTF-8; send the body in UTF-8 and say so";
    Err(Box::new(Problem::new(code).with_error("", "unsupported_charset", detail)))
}

fn is_utf8_label(label: &str) -> bool {
    ["utf-8", "utf8"].iter().any(|known| label.eq_ignore_ascii_case(known))
}

/// The values of all `charset` parameters of a media type, also of those written `charset*` (RFC 8187) or with white
/// space, which RFC 9110 does not allow but some servers read.
fn charsets(kind: &str) -> impl Iterator<Item = &str> {
    kind.split([';', ',']).skip(1).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().trim_end_matches('*').eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// `Cache-Status` (RFC 9211) for an answer from this source that stays cached for another `left`.
pub(in crate::server) fn cache_status(source: Source, left: Duration, by_replica: bool) -> HeaderValue {
    match source {
        // The RFC allows a space before each parameter, and callers may compare the text.
        Source::Cache => {
            let mut text = HeaderText::default();
            text.push("idgate; hit; ttl=").number(left.as_secs().min(MOST_SECONDS));
            text.value()
        }
        Source::Shared if by_replica => HeaderValue::from_static("idgate; fwd=miss; collapsed; detail=replica"),
        Source::Shared => HeaderValue::from_static("idgate; fwd=miss; collapsed"),
        Source::Provider => HeaderValue::from_static("idgate; fwd=miss"),
    }
}

/// The largest integer of a structured field (RFC 9651, 3.3.1).
const MOST_SECONDS: u64 = 999_999_999_999_999;

/// The method for the log, from a closed set, because callers can send arbitrary methods.
pub(in crate::server) fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

/// A header value from our own text; empty if it contains invalid characters.
pub fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

fn directives<'a>(headers: &'a HeaderMap, name: &HeaderName, by: char) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(move |value| value.split(by))
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

#[cfg(test)]
mod tests;
