//! Failures as documents (RFC 9457): the only file that turns an error into HTTP.
//!
//! Invariant: a problem names members and remedies, never a value; it holds no text of a provider's. To add a code: one
//! row in `Code::row`, and the table of the README.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::reply::AttemptDocument;
use crate::verify::{Failure, FailureKind};

/// What went wrong, from a closed set: the word that programs branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the contract; `row` says what each means")]
pub enum Code {
    MalformedRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    IdempotencyInProgress,
    PayloadTooLarge,
    UnsupportedMediaType,
    HeadersTooLarge,
    InvalidName,
    InvalidIdNumber,
    UnsupportedDocument,
    RejectedByProvider,
    IdempotencyKeyReused,
    RateLimited,
    SubjectThrottled,
    Internal,
    ProviderFailure,
    NoProviderAvailable,
    Overloaded,
    ShuttingDown,
    OutcomeUnknown,
    NotCached,
}

struct Row {
    word: &'static str,
    status: StatusCode,
    retryable: bool,
    title: &'static str,
    detail: &'static str,
}

/// One mistake in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberError {
    /// Which member, as a JSON pointer; empty for the document as a whole.
    #[schema(example = "/id_number")]
    pub pointer: String,
    /// The rule that it breaks, from a closed set.
    #[schema(example = "bad_checksum")]
    pub reason: &'static str,
    /// What to do.
    pub detail: String,
}

/// An answer that is not a verdict.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Identifies the kind of problem; the same for the same `code`.
    #[serde(rename = "type")]
    #[schema(example = "urn:idgate:problem:invalid_id_number")]
    kind: String,
    /// The kind in a few words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened this time, and what to do.
    detail: String,
    /// The word to branch on.
    code: Code,
    /// The `X-Request-Id` of this answer.
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The earliest time that helps, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_seconds: Option<u64>,
    /// The mistakes, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<MemberError>,
    /// What was tried at the providers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptDocument>,
    /// Whether a provider may have charged for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    may_have_been_billed: Option<bool>,
}

impl Code {
    /// All of them, in the order of the statuses they come with.
    pub const ALL: [Code; 25] = [
        Code::MalformedRequest,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::NotAcceptable,
        Code::RequestTimeout,
        Code::IdempotencyInProgress,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
        Code::HeadersTooLarge,
        Code::InvalidName,
        Code::InvalidIdNumber,
        Code::UnsupportedDocument,
        Code::RejectedByProvider,
        Code::IdempotencyKeyReused,
        Code::RateLimited,
        Code::SubjectThrottled,
        Code::Internal,
        Code::ProviderFailure,
        Code::NoProviderAvailable,
        Code::Overloaded,
        Code::ShuttingDown,
        Code::OutcomeUnknown,
        Code::NotCached,
    ];

    const fn row(self) -> Row {
        use StatusCode as S;
        const fn row(word: &'static str, status: S, retryable: bool, title: &'static str, detail: &'static str) -> Row {
            Row { word, status, retryable, title, detail }
        }
        match self {
            Code::MalformedRequest => row(
                "malformed_request",
                S::BAD_REQUEST,
                false,
                "The request cannot be read",
                "Mend what `errors` names and send it again. Nothing was called, nothing was paid.",
            ),
            Code::Unauthenticated => row(
                "unauthenticated",
                S::UNAUTHORIZED,
                false,
                "No valid client key",
                "Send `Authorization: Bearer <key>` with a key that is configured and has not expired.",
            ),
            Code::Forbidden => row(
                "forbidden",
                S::FORBIDDEN,
                false,
                "Not allowed for this client",
                "This client may not use this purpose. Use one of its own, or have it added to the client's `purposes`.",
            ),
            Code::NotFound => {
                row("not_found", S::NOT_FOUND, false, "No such resource", "Questions go to POST /v1/verify.")
            }
            Code::MethodNotAllowed => row(
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                false,
                "Method not allowed",
                "The `Allow` header says which methods this resource takes.",
            ),
            Code::NotAcceptable => row(
                "not_acceptable",
                S::NOT_ACCEPTABLE,
                false,
                "Only JSON can be answered",
                "Send `Accept: application/json`, or leave the header out.",
            ),
            Code::RequestTimeout => row(
                "request_timeout",
                S::REQUEST_TIMEOUT,
                true,
                "The request did not arrive in time",
                "Send the whole body at once. Nothing was called, nothing was paid.",
            ),
            Code::IdempotencyInProgress => row(
                "idempotency_in_progress",
                S::CONFLICT,
                true,
                "The first request with this key is still being worked on",
                "Wait, then send the same request with the same key again.",
            ),
            Code::PayloadTooLarge => row(
                "payload_too_large",
                S::PAYLOAD_TOO_LARGE,
                false,
                "The body is too large",
                "A question needs a few hundred bytes; send only its members.",
            ),
            Code::UnsupportedMediaType => row(
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                false,
                "Only JSON can be read",
                "Send the body as JSON (UTF-8) with `Content-Type: application/json`.",
            ),
            Code::HeadersTooLarge => row(
                "headers_too_large",
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                false,
                "A request header is too large",
                "Send fewer or shorter headers; `server.connections.max_header_bytes` is the limit.",
            ),
            Code::InvalidName => row(
                "invalid_name",
                S::UNPROCESSABLE_ENTITY,
                false,
                "The name cannot be a name on an ID card",
                "Mend what `errors` names. Nothing was called, nothing was paid.",
            ),
            Code::InvalidIdNumber => row(
                "invalid_id_number",
                S::UNPROCESSABLE_ENTITY,
                false,
                "The ID number cannot be one",
                "Mend what `errors` names. Nothing was called, nothing was paid.",
            ),
            Code::UnsupportedDocument => row(
                "unsupported_document",
                S::UNPROCESSABLE_ENTITY,
                false,
                "No provider takes this kind of document",
                "The number is valid, of a kind (or the name of a length) that no provider in the chain takes.",
            ),
            Code::RejectedByProvider => row(
                "rejected_by_provider",
                S::UNPROCESSABLE_ENTITY,
                false,
                "Every provider asked calls the input invalid",
                "Check name and number with the person; the providers' rules are narrower than ours.",
            ),
            Code::IdempotencyKeyReused => row(
                "idempotency_key_reused",
                S::UNPROCESSABLE_ENTITY,
                false,
                "The idempotency key belongs to another request",
                "Use a new key for a new question; a key is kept for 24 hours.",
            ),
            Code::RateLimited => row(
                "rate_limited",
                S::TOO_MANY_REQUESTS,
                true,
                "This client is over its rate",
                "Wait as long as `Retry-After` says. Nothing was called, nothing was paid.",
            ),
            Code::SubjectThrottled => row(
                "subject_throttled",
                S::TOO_MANY_REQUESTS,
                true,
                "Every provider refuses this person for now",
                "This person was asked about too often. Asking again makes it worse; wait as long as `Retry-After` says.",
            ),
            Code::Internal => row(
                "internal",
                S::INTERNAL_SERVER_ERROR,
                true,
                "A defect of the gateway",
                "Report it with the request id.",
            ),
            Code::ProviderFailure => row(
                "provider_failure",
                S::BAD_GATEWAY,
                true,
                "All providers failed",
                "Nothing is pending. Ask again later; `attempts` says what each provider did.",
            ),
            Code::NoProviderAvailable => row(
                "no_provider_available",
                S::SERVICE_UNAVAILABLE,
                true,
                "No provider can be asked now",
                "Nothing was paid. Ask again when `Retry-After` says; `attempts` says why each provider is out.",
            ),
            Code::Overloaded => row(
                "overloaded",
                S::SERVICE_UNAVAILABLE,
                true,
                "Too many requests at once",
                "Ask again shortly. Nothing was called, nothing was paid.",
            ),
            Code::ShuttingDown => row(
                "shutting_down",
                S::SERVICE_UNAVAILABLE,
                true,
                "This instance is going down",
                "Ask again; another instance will answer.",
            ),
            Code::OutcomeUnknown => row(
                "outcome_unknown",
                S::GATEWAY_TIMEOUT,
                true,
                "A call was sent and has not answered in time",
                "Ask the same question again: it joins the call or finds its answer, and is not billed again.",
            ),
            Code::NotCached => row(
                "not_cached",
                S::GATEWAY_TIMEOUT,
                true,
                "Nothing is remembered",
                "Ask without `Cache-Control: only-if-cached`.",
            ),
        }
    }

    /// Whether it says the same to everybody who asks the same at that moment, however long they wait.
    pub const fn is_everybodys(self) -> bool {
        matches!(
            self,
            Code::ProviderFailure
                | Code::NoProviderAvailable
                | Code::SubjectThrottled
                | Code::RejectedByProvider
                | Code::UnsupportedDocument
        )
    }

    /// The word in the document, in logs and in metrics.
    pub const fn as_str(self) -> &'static str {
        self.row().word
    }

    /// The kind in a few words.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// The HTTP status it comes with.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }
}

impl Problem {
    /// A problem with the standard text of its code.
    pub fn new(code: Code) -> Self {
        let row = code.row();
        Self {
            kind: format!("urn:idgate:problem:{}", row.word),
            title: row.title,
            status: row.status.as_u16(),
            detail: row.detail.to_owned(),
            code,
            request_id: String::new(),
            retryable: row.retryable,
            retry_after_seconds: None,
            errors: Vec::new(),
            attempts: Vec::new(),
            may_have_been_billed: None,
        }
    }

    /// The same, with the mistakes one by one.
    pub fn with_errors(self, errors: Vec<MemberError>) -> Self {
        Self { errors, ..self }
    }

    /// The same, with one mistake.
    pub fn with_error(self, pointer: &str, reason: &'static str, detail: &str) -> Self {
        self.with_errors(vec![MemberError { pointer: pointer.to_owned(), reason, detail: detail.to_owned() }])
    }

    /// The same, with the earliest time that helps, rounded up to whole seconds.
    pub fn with_retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self { retry_after_seconds: Some(seconds.max(1)), ..self }
    }

    /// The same, as the answer to the request of this id.
    pub fn with_request_id(self, request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..self }
    }

    /// The word to branch on.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What was tried, for the log line.
    pub fn attempts(&self) -> &[AttemptDocument] {
        &self.attempts
    }

    /// The answer that carries this problem.
    pub fn to_response(&self, request_id: &str) -> Response<Body> {
        let document = self.clone().with_request_id(request_id);
        let status = self.code.status();
        // Serializing a struct of strings and numbers cannot fail; an empty body is still a valid answer.
        let mut response = Response::new(Body::from(serde_json::to_vec(&document).unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"idgate\""));
        }
        response
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            FailureKind::UnsupportedDocument => Code::UnsupportedDocument,
            FailureKind::RejectedByProvider => Code::RejectedByProvider,
            FailureKind::SubjectThrottled => Code::SubjectThrottled,
            FailureKind::NoProviderAvailable => Code::NoProviderAvailable,
            FailureKind::ProviderFailure => Code::ProviderFailure,
            FailureKind::OutcomeUnknown => Code::OutcomeUnknown,
            FailureKind::NotCached => Code::NotCached,
            FailureKind::Internal => Code::Internal,
        };
        let plain = Self::new(code);
        // Asking again joins the call or finds its answer, so soon is fine.
        let soon = (code == Code::OutcomeUnknown).then_some(Duration::from_secs(1));
        let timed = match failure.retry_after.or(soon) {
            Some(after) => plain.with_retry_after(after),
            None => plain,
        };
        Self {
            may_have_been_billed: Some(failure.may_have_been_billed()),
            attempts: failure.attempts.iter().map(AttemptDocument::from).collect(),
            ..timed
        }
    }
}
