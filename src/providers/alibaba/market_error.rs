//! The errors of the API gateway in front of every cloud-market API and the faults they map to, in both directions.
//!
//! Invariants: `X-Ca-Error-Code` decides, then the prefix of `X-Ca-Error-Message`, then the status; a bare 403 decides
//! nothing. The message may contain raw UTF-8 and, after a wrong signature, personal data: it is compared as bytes and
//! never kept. Only [`fault`] and [`by_status`] create faults here.
//!
//! A new code is one row. A row whose text is not documented first-hand has the text that the simulator may send.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::domain::money::Billed;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::domain::verdict::RequestId;
use crate::providers::dialect::Cause;
use crate::providers::{Code, Refusal, ReplyTo, is_redirect, retry_after};

/// The gateway's call reference, present on every response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-ca-request-id");
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ca-error-code");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-ca-error-message");

// Errors that the gateway simulator produces itself.

pub const NO_CREDENTIAL: Code = account("A400MA", 400, "Need authorization", Reason::KeyRefused);
pub const UNKNOWN_APP_CODE: Code = account("A400AC", 400, "Invalid AppCode `not exists`", Reason::KeyRefused);
pub const UNKNOWN_APP_KEY: Code = account("A400IK", 400, "Invalid AppKey", Reason::KeyRefused);
/// The signature does not match the AppSecret. The gateway repeats the string to sign here; the simulator does not.
pub const WRONG_SIGNATURE: Code = account("A403IS", 403, "Invalid Signature", Reason::SignatureRefused);
pub const EMPTY_SIGNATURE: Code = ours("Empty Signature", 400, "Empty Signature");
/// The signature has no readable time stamp.
pub const INVALID_TIMESTAMP: Code = account("Invalid Timestamp", 400, "Invalid Timestamp", Reason::Clock);
/// The time stamp is too old or in the future.
pub const TIMESTAMP_EXPIRED: Code = account("Timestamp Expired", 400, "Timestamp Expired", Reason::Clock);
/// The body does not match the signed hash.
pub const WRONG_CONTENT_MD5: Code = ours("I400I5", 400, "Invalid Content-MD5");
/// The host does not serve this path.
pub const NO_SUCH_API: Code = account("I404NF", 404, "API not found", Reason::Misconfigured);
/// The path does not accept this method.
pub const NO_SUCH_METHOD: Code = account("I405UM", 405, "Unsupported Method", Reason::Misconfigured);

/// The nonce was used before.
pub const NONCE_USED: Code = text("Nonce Used", 400, Outcome::Interrupted, Reason::NonceReused);
/// The caller is not authorized.
pub const UNAUTHORIZED: Code = account("I403AA", 403, "Unauthorized", Reason::NoPermission);
/// The package is used up.
pub const QUOTA_USED_UP: Code = account("B403MQ", 403, "Api Market Subscription quota exhausted", Reason::QuotaUsedUp);
/// The request cannot be parsed.
pub const INVALID_BODY: Code = ours("I400BD", 400, "Invalid Body");
/// The body is larger than any valid request.
pub const BODY_TOO_LARGE: Code = refused("I413RL", 413, "Request body too Large");
/// The headers are larger than any valid request.
pub const URL_TOO_LARGE: Code = refused("I413UL", 413, "Request URL too Large");
/// The caller is throttled.
pub const THROTTLED: Code = throttled("T429PA", 429, "Throttled by API Flow Control");
/// The same under the older status and without a code, for limits that a one-second wait does not lift.
pub const THROTTLED_USER: Code = text("Throttled by USER Flow Control", 403, Outcome::RateLimited, Reason::Unspecified);
/// The backend received the request but has not responded.
pub const BACKEND_LATE: Code = late("D504TO", 504, "Backend service request timeout");
/// The backend is temporarily unavailable.
pub const BACKEND_OPEN: Code = down("D503CB", 503, "Backend circuit breaker open");
pub const BACKEND_FAILED: Code = down("D502FC", 502, "Backend function call failed");
/// The service is temporarily unavailable.
pub const BUSY: Code = down("X503BZ", 503, "Service Busy");
/// An internal error of the gateway.
pub const INTERNAL: Code = down("X500ER", 500, "Service internal error");

/// Every documented `X-Ca-Error-Code`.
pub static CODES: &[Code] = &[
    QUOTA_USED_UP,
    account("B403ME", 403, "Api Market Subscription expired", Reason::SubscriptionExpired),
    account("B403MI", 403, "Api Market Subscription invalid", Reason::NotActivated),
    account("B403OD", 403, "Provider Account Overdue", Reason::Arrears),
    account("B403MO", 403, "Api Market Subscription overdue", Reason::Arrears),
    UNKNOWN_APP_CODE,
    account("A401AC", 401, "Invalid AppCode `not exists`", Reason::KeyRefused),
    UNKNOWN_APP_KEY,
    WRONG_SIGNATURE,
    NO_CREDENTIAL,
    account("A403PR", 403, "Plugin Authorization Needed", Reason::NoPermission),
    account("A403EP", 403, "App authorization expired", Reason::NoPermission),
    UNAUTHORIZED,
    account("A403IP", 403, "Access denied by IP Control Policy", Reason::NoPermission),
    account("A403VN", 403, "Access from VPC denied", Reason::NoPermission),
    account("A403AC", 403, "Access Control Forbidden", Reason::NoPermission),
    account("A403CO", 403, "Cross origin resource forbidden", Reason::NoPermission),
    account("A403IN", 403, "Access from internet denied", Reason::NoPermission),
    account("A403FC", 403, "Access to function compute forbidden", Reason::NoPermission),
    throttled("T429ID", 429, "Throttled by DOMAIN Flow Control"),
    throttled("T429IN", 429, "Throttled by INSTANCE Flow Control"),
    throttled("T429GR", 429, "Throttled by GROUP Flow Control"),
    THROTTLED,
    throttled("T429PR", 429, "Throttled by PLUGIN Flow Control"),
    throttled("T429SR", 429, "Throttled by SERVER Flow Control"),
    throttled("T429MR", 429, "Throttled by MARKET Flow Control"),
    late("D504RE", 504, "Backend service connect failed `Connection refused`"),
    late("D504IL", 504, "Backend service connect failed `Illegal address`"),
    late("D504CO", 504, "Backend service connect failed"),
    late("D504CS", 504, "Backend service connect failed `SSL`"),
    BACKEND_LATE,
    down("D503BB", 503, "Backend circuit breaker busy"),
    BACKEND_OPEN,
    BACKEND_FAILED,
    down("N502RE", 502, "Network receive error"),
    down("X504VE", 504, "Gateway connect to backend failed"),
    down("X504TO", 504, "Gateway request timeout"),
    BUSY,
    INTERNAL,
    down("X500ED", 500, "Expired api definition"),
    down("X500AM", 500, "Invalid Api Meta"),
    NO_SUCH_API,
    account("I404DO", 404, "Invalid Domain", Reason::Misconfigured),
    account("I404NR", 404, "Group not found", Reason::Misconfigured),
    account("I404SR", 404, "Stage route missing", Reason::Misconfigured),
    account("I410GG", 410, "Group's instance invalid", Reason::Misconfigured),
    NO_SUCH_METHOD,
    ours("I400HD", 400, "Invalid Header"),
    ours("I400MH", 400, "Header is Required"),
    INVALID_BODY,
    ours("I400PA", 400, "Invalid Request Path"),
    ours("I400RU", 400, "Invalid Request Uri"),
    ours("I400CT", 400, "Invalid Content-Type"),
    ours("I400SG", 400, "Invalid Stage"),
    WRONG_CONTENT_MD5,
    ours("I400NC", 400, "X-Ca-Nonce is required"),
    ours("I400MP", 400, "Parameter is required"),
    ours("I400IP", 400, "Invalid parameter"),
    ours("I400JP", 400, "JWT required"),
    ours("X400PM", 400, "Invalid plugin meta"),
    BODY_TOO_LARGE,
    URL_TOO_LARGE,
    account("I403PT", 403, "Invalid protocol", Reason::Misconfigured),
    account("X403DG", 403, "Bad Domain or Group", Reason::Misconfigured),
    account("B451DO", 451, "Unauthorized Domain", Reason::Misconfigured),
    account("B451GO", 451, "Unauthorized Group", Reason::Misconfigured),
];

/// The texts that classic instances send without a code. These and those of [`CODES`] match by prefix, ignoring case.
pub static TEXTS: &[Code] = &[
    text("Quota Exhausted", 403, Outcome::AccountFault, Reason::QuotaUsedUp),
    text("Quota Expired", 403, Outcome::AccountFault, Reason::SubscriptionExpired),
    text("Expiry of Authorization", 403, Outcome::AccountFault, Reason::SubscriptionExpired),
    text("User Arrears", 403, Outcome::AccountFault, Reason::Arrears),
    text("Unauthorized", 403, Outcome::AccountFault, Reason::NoPermission),
    THROTTLED_USER,
    text("Throttled by", 403, Outcome::RateLimited, Reason::Unspecified),
    text("Invalid AppCode", 400, Outcome::AccountFault, Reason::KeyRefused),
    text("Invalid AppKey", 400, Outcome::AccountFault, Reason::KeyRefused),
    text("Invalid AppSecret", 400, Outcome::AccountFault, Reason::SignatureRefused),
    text("Invalid Signature", 400, Outcome::AccountFault, Reason::SignatureRefused),
    TIMESTAMP_EXPIRED,
    INVALID_TIMESTAMP,
    NONCE_USED,
    text("API Not Found", 404, Outcome::AccountFault, Reason::Misconfigured),
    text("Invalid Domain", 400, Outcome::AccountFault, Reason::Misconfigured),
    text("Invalid HttpMethod", 400, Outcome::AccountFault, Reason::Misconfigured),
    EMPTY_SIGNATURE,
    ours("Empty Request Body", 400, "Empty Request Body"),
    ours("Invalid Request Body", 400, "Invalid Request Body"),
    ours("Invalid Param Location", 400, "Invalid Param Location"),
    ours("Unsupported Multipart", 400, "Unsupported Multipart"),
    ours("Invalid Url", 400, "Invalid Url"),
    ours("Invalid Content-MD5", 400, "Invalid Content-MD5"),
    text("Internal Error", 500, Outcome::ProviderError, Reason::Unspecified),
    text("Failed To Invoke Backend Service", 500, Outcome::ProviderError, Reason::Unspecified),
    text("Service Unavailable", 503, Outcome::ProviderError, Reason::Unspecified),
    text("Async Service", 504, Outcome::Timeout, Reason::Unspecified),
];

/// Code families, matched by the first four characters, for codes that are not documented.
static FAMILIES: &[Code] = &[
    throttled("T429", 429, ""),
    late("D504", 504, ""),
    down("D503", 503, ""),
    down("D502", 502, ""),
    down("N502", 502, ""),
    down("X50", 500, ""),
    account("I404", 404, "", Reason::Misconfigured),
    account("I405", 405, "", Reason::Misconfigured),
    account("I410", 410, "", Reason::Misconfigured),
    account("B451", 451, "", Reason::Misconfigured),
    ours("I400", 400, ""),
    refused("I413", 413, ""),
];

const fn account(code: &'static str, status: u16, message: &'static str, reason: Reason) -> Code {
    Code::new(code, status, message, Outcome::AccountFault, reason)
}

const fn throttled(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::RateLimited, Reason::Unspecified)
}

/// The backend received the request and may still process and bill it.
const fn late(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::Timeout, Reason::Unspecified)
}

const fn down(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::ProviderError, Reason::Unspecified)
}

const fn refused(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::InputRefused, Reason::Unspecified)
}

/// Our request is invalid; the gateway rejects it before the backend bills it.
const fn ours(code: &'static str, status: u16, message: &'static str) -> Code {
    let row = Code::new(code, status, message, Outcome::Unreadable, Reason::RequestForm);
    Code { billed: Some(Billed::No), ..row }
}

const fn text(begins: &'static str, status: u16, outcome: Outcome, reason: Reason) -> Code {
    Code::new(begins, status, begins, outcome, reason)
}

/// The gateway's own error; `None` when the response is from the backend.
pub fn fault(response: &Response<Bytes>) -> Option<Fault> {
    let headers = response.headers();
    let code = headers.get(&ERROR_CODE).map(|value| value.as_bytes().trim_ascii()).filter(|code| !code.is_empty());
    let message = headers.get(&ERROR_MESSAGE).map(|value| value.as_bytes().trim_ascii());
    let by_code = code.and_then(|code| {
        let exact = CODES.iter().find(|row| row.code.as_bytes() == code);
        exact.or_else(|| FAMILIES.iter().find(|row| code.starts_with(row.code.as_bytes())))
    });
    let row = by_code.or_else(|| by_message(message.unwrap_or_default()));
    let fault = row.map(Code::fault).or_else(|| code.map(|_| by_status(response.status())))?;
    Some(Fault { retry_after: retry_after(headers, None), ..fault })
}

/// The gateway's code for each cause, for a provider that only has its own codes for an invalid name or number. `None`
/// means that a person is checked too often, for which user throttling is the closest match.
pub const fn word(cause: Cause, bad_name: &'static Code, bad_number: &'static Code) -> &'static Code {
    match cause {
        Cause::InvalidName => bad_name,
        Cause::InvalidNumber | Cause::RejectedPair => bad_number,
        Cause::Malformed => &INVALID_BODY,
        Cause::BodyTooLarge => &BODY_TOO_LARGE,
        Cause::HeadTooLarge => &URL_TOO_LARGE,
        Cause::NoSuchPath => &NO_SUCH_API,
        Cause::NoSuchMethod => &NO_SUCH_METHOD,
        Cause::Unauthenticated => &NO_CREDENTIAL,
        Cause::Forbidden => &UNAUTHORIZED,
        Cause::TooFast => &THROTTLED,
        Cause::TooOften => &THROTTLED_USER,
        Cause::BudgetSpent => &QUOTA_USED_UP,
        Cause::Failed => &BACKEND_FAILED,
        Cause::Unavailable => &BACKEND_OPEN,
        Cause::Busy | Cause::Late => &BUSY,
        Cause::Unknown => &BACKEND_LATE,
        Cause::Defect => &INTERNAL,
    }
}

/// The fault for a status without a document. Not for statuses with which the driver expects one.
pub fn by_status(status: StatusCode) -> Fault {
    match status.as_u16() {
        _ if is_redirect(status) => Fault::unreadable(Reason::Redirect),
        429 => Fault::new(Outcome::RateLimited, Reason::Unspecified),
        408 | 504 => Fault::new(Outcome::Timeout, Reason::Unspecified),
        500..=599 => Fault::new(Outcome::ProviderError, Reason::Unspecified),
        _ => Fault::unreadable(Reason::UnknownCode),
    }
}

/// The gateway's call reference, if it is well-formed.
pub fn request_id(headers: &HeaderMap) -> Option<RequestId> {
    RequestId::parse(headers.get(&REQUEST_ID)?.to_str().ok()?)
}

/// The gateway's error response: headers and an empty body. `None` when the row is not the gateway's.
pub fn encode(refusal: &Refusal, reply_to: &ReplyTo) -> Option<Response<Bytes>> {
    let has_code = CODES.contains(refusal.code);
    if !has_code && !TEXTS.contains(refusal.code) {
        return None;
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(refusal.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if has_code {
        headers.insert(ERROR_CODE, HeaderValue::from_static(refusal.code.code));
    }
    headers.insert(ERROR_MESSAGE, HeaderValue::from_static(refusal.code.message));
    finish(headers, reply_to, refusal.retry_after);
    Some(response)
}

/// The headers of every response through the gateway.
pub fn finish(headers: &mut HeaderMap, reply_to: &ReplyTo, retry_after: Option<Duration>) {
    if let Ok(id) = HeaderValue::from_str(&reply_to.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(pause) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(pause.as_secs() + u64::from(pause.subsec_nanos() > 0)));
    }
}

/// The row with the longest text that is a prefix of `message`; among equals the one without a code, like the message.
fn by_message(message: &[u8]) -> Option<&'static Code> {
    let begins = |text: &str| message.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes()));
    CODES.iter().chain(TEXTS).filter(|row| begins(row.message)).max_by_key(|row| row.message.len())
}
