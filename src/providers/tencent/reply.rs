//! Responses, read and written. The service always sends status 200; another status comes from an intermediary.
//!
//! Invariant: a verdict needs HTTP 200, a documented Result, and no error in the same document.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::codes::{self, VERDICTS};
use super::wire::{Envelope, Refused, Reply};
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::verdict::{Finding, RequestId, Verdict};
use crate::providers::codec::json::{self, Lenient, Object, Scalar};
use crate::providers::{Refusal, ReplyTo, is_redirect};

/// The rate limit is per second, and no response says how long to wait.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn decode(response: &Response<Bytes>) -> Result<Finding, Fault> {
    let envelope: Option<Envelope> = json::read(response.body());
    let reply = envelope.map(|Envelope { response: Object(reply) }| reply);
    let request_id = reply.as_ref().and_then(|reply| reply.request_id.as_ref()?.known());
    let request_id = request_id.and_then(|text| RequestId::parse(text));
    match judge(response.status(), reply.as_ref()) {
        Ok(verdict) => Ok(Finding { verdict, request_id }),
        Err(fault) => {
            let retry_after = (fault.outcome == Outcome::RateLimited).then_some(PAUSE);
            Err(Fault { request_id, retry_after, ..fault })
        }
    }
}

fn judge(status: StatusCode, reply: Option<&Reply>) -> Result<Verdict, Fault> {
    match reply {
        Some(Reply { error: Some(_), result: Some(_), .. }) => Err(Fault::unreadable(Reason::Contradiction)),
        // An error is accepted under any status, because only the service sends one.
        Some(Reply { error: Some(Object(refused)), .. }) => {
            let message = refused.message.as_ref().and_then(Lenient::known).map(String::as_str).unwrap_or_default();
            let row = codes::error(&refused.code, message);
            Err(row.map_or_else(|| Fault::unreadable(Reason::UnknownCode), |row| row.fault()))
        }
        _ if status != StatusCode::OK => Err(by_status(status)),
        Some(Reply { result: Some(result), .. }) => {
            let result = result.text();
            match VERDICTS.iter().find(|(_, code, _)| *code == result) {
                Some((verdict, _, _)) => Ok(*verdict),
                None => {
                    let row = codes::result_row(&result);
                    Err(row.map_or_else(|| Fault::unreadable(Reason::UnknownCode), |row| row.fault()))
                }
            }
        }
        _ => Err(Fault::unreadable(Reason::Garbage)),
    }
}

/// The fault for a status.
fn by_status(status: StatusCode) -> Fault {
    match status.as_u16() {
        _ if is_redirect(status) => Fault::unreadable(Reason::Redirect),
        429 => Fault::new(Outcome::RateLimited, Reason::Unspecified),
        500..=599 => Fault::new(Outcome::ProviderError, Reason::Unspecified),
        _ => Fault::unreadable(Reason::Garbage),
    }
}

/// The service's response. Always 200, and the content type without a charset: with one, the Python client loses
/// errors.
pub(super) fn encode(answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
    let with_result = |result: &str, text: &str| Reply {
        result: Some(Scalar::Text(result.to_owned())),
        description: Some(Lenient::Known(text.to_owned())),
        ..Reply::default()
    };
    let reply = match answer {
        Ok(verdict) => {
            let found = VERDICTS.iter().find(|(known, _, _)| *known == verdict);
            found.map(|(_, result, text)| with_result(result, text)).unwrap_or_default()
        }
        Err(Refusal { code, .. }) if codes::RESULTS.contains(code) => with_result(code.code, code.message),
        Err(Refusal { code, .. }) => {
            let message = Some(Lenient::Known(code.message.to_owned()));
            Reply { error: Some(Object(Refused { code: code.code.to_owned(), message })), ..Reply::default() }
        }
    };
    // The Python client also needs it in errors.
    let request_id = Some(Lenient::Known(reply_to.request_id.to_ascii_lowercase()));
    document(&Envelope { response: Object(Reply { request_id, ..reply }) })
}

pub(super) fn document(document: &impl serde::Serialize) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json::write(document)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
