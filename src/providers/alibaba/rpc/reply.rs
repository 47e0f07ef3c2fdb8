//! Responses of the gateway, read and written: a verdict, a service code in a 200 body, or a gateway error with its own
//! status.
//!
//! Invariant: a verdict needs HTTP 200, a success `Code`, and a documented, consistent `BizCode`. The reader is lenient
//! about members that carry no verdict (unknown members, types of `Message` and `RequestId`). It accepts both success
//! codes and both object names, because the actions are siblings and may converge.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};

use super::action::{Action, XML};
use super::wire::Reply;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::verdict::{Finding, RequestId, Verdict};
use crate::providers::alibaba::pop_error::{self, PopError};
use crate::providers::codec::json;
use crate::providers::{Refusal, ReplyTo, is_redirect};

const REQUEST_ID: &str = "x-acs-request-id";
/// A pause in whole milliseconds, unlike the standard header.
const RETRY_AFTER: &str = "x-acs-retry-after";

/// Interprets a response for the caller of `action`.
pub(super) fn decode(action: &Action, response: &Response<Bytes>) -> Result<Finding, Fault> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let reply = Reply::parse(response.body());
    let request_id = reply.as_ref().and_then(|reply| RequestId::parse(reply.request_id()?));
    let request_id = request_id.or_else(|| RequestId::parse(header(REQUEST_ID)?));
    match judge(action, response.status(), reply.as_ref()) {
        Ok(verdict) => Ok(Finding { verdict, request_id }),
        Err(fault) => {
            let pause = header(RETRY_AFTER).and_then(|pause| pause.parse().ok()).filter(|pause| *pause > 0);
            Err(Fault { retry_after: pause.map(Duration::from_millis), request_id, ..fault })
        }
    }
}

fn judge(action: &Action, status: StatusCode, reply: Option<&Reply>) -> Result<Verdict, Fault> {
    if is_redirect(status) {
        return Err(Fault::unreadable(Reason::Redirect));
    }
    let Some((reply, code)) = reply.and_then(|reply| Some((reply, reply.code()?))) else {
        return Err(by_status(status, Reason::Garbage));
    };
    if matches!(&*code, "200" | "Success") {
        return if status == StatusCode::OK { reply.verdict() } else { Err(Fault::unreadable(Reason::Contradiction)) };
    }
    if reply.speaks() {
        return Err(Fault::unreadable(Reason::Contradiction));
    }
    let row = (action.row)(&code, reply.message()).or_else(|| pop_error::row(&code));
    Err(row.map_or_else(|| by_status(status, Reason::UnknownCode), |row| row.fault()))
}

/// The fault for a status whose body has no documented code.
fn by_status(status: StatusCode, otherwise: Reason) -> Fault {
    match status.as_u16() {
        429 => Fault::new(Outcome::RateLimited, Reason::Unspecified),
        408 | 504 => Fault::new(Outcome::Timeout, Reason::Unspecified),
        500..=599 => Fault::new(Outcome::ProviderError, Reason::Unspecified),
        _ => Fault::unreadable(otherwise),
    }
}

/// The response of `action`, byte for byte in its dialect.
pub(super) fn encode(action: &Action, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
    let (status, retry_after) = match &answer {
        Ok(_) => (200, None),
        Err(refusal) => (refusal.code.status, refusal.retry_after),
    };
    let mut response = Response::new(body(action, answer, reply_to).into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = reply_to.media_type.unwrap_or("application/json;charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(request_id) = HeaderValue::from_str(&reply_to.request_id) {
        headers.insert(REQUEST_ID, request_id);
    }
    if let Some(Ok(pause)) = retry_after.map(|pause| HeaderValue::try_from(pause.as_millis().to_string())) {
        headers.insert(RETRY_AFTER, pause);
    }
    response
}

fn body(action: &Action, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> String {
    let is_xml = reply_to.media_type == Some(XML);
    let reply = match answer {
        Ok(verdict) => Reply::new(action.success, "success", &reply_to.request_id).with(verdict, action.object),
        // A row with status 200 is a service code and has the same document as success.
        Err(Refusal { code, .. }) if code.status == 200 => Reply::new(code.code, code.message, &reply_to.request_id),
        Err(Refusal { code, .. }) => {
            let error = PopError {
                request_id: reply_to.request_id.as_str().into(),
                host_id: reply_to.host.as_str().into(),
                code: code.code.into(),
                message: code.message.into(),
                recommend: Some(format!("{}?q={}&product={}", action.help, code.code, action.product).into()),
            };
            return if is_xml { error.to_xml() } else { json::write(&error) };
        }
    };
    if is_xml { reply.to_xml(&format!("{}Response", action.name)) } else { json::write(&reply) }
}
