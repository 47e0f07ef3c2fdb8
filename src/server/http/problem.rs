//! Errors as problem documents (RFC 9457).
//!
//! Invariant: a problem names members and remedies, but never quotes a value or the text of a provider. The codes are
//! in `code`.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::attempt::{self, AttemptDocument};
use super::code::Code;
use crate::verify::enumeration::Kind;
use crate::verify::{Attempt, Failure, FailureKind};

/// Retry hint when no better one is known.
pub(in crate::server) const SOON: Duration = Duration::from_secs(1);

/// Why a request is refused. Boxed because a problem is large and rarely needed.
pub type Refused = Box<Problem>;

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberError {
    /// Which member, as a JSON pointer; empty for the document as a whole.
    #[schema(example = "/id_number")]
    pub pointer: String,
    /// The rule that is broken, from a closed set.
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
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "attempt::documents")]
    #[schema(value_type = Vec<AttemptDocument<'static>>)]
    attempts: Vec<Attempt>,
    /// Whether a provider may have charged for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    may_have_been_billed: Option<bool>,
    /// The id under which the question is in the ledger (UUID version 7), where a provider may have been called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verification_id: Option<Uuid>,
}

impl Problem {
    /// A problem with the default texts of its code.
    pub fn new(code: Code) -> Self {
        let row = code.row();
        Self {
            kind: format!("urn:idgate:problem:{}", code.as_str()),
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
            verification_id: None,
        }
    }

    /// The same mistakes under another code.
    pub fn with_code(self, code: Code) -> Self {
        Self::new(code).with_errors(self.errors)
    }

    pub fn with_errors(self, errors: Vec<MemberError>) -> Self {
        Self { errors, ..self }
    }

    pub fn with_error(self, pointer: &str, reason: &'static str, detail: &str) -> Self {
        self.with_errors(vec![MemberError { pointer: pointer.to_owned(), reason, detail: detail.to_owned() }])
    }

    /// Sets the delay after which a retry can help, rounded up to whole seconds.
    pub fn with_retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Self { retry_after_seconds: Some(seconds.max(1)), ..self }
    }

    /// Marks that a call may be in progress, so the question may be billed.
    pub fn perhaps_billed(self) -> Self {
        Self { may_have_been_billed: Some(true), ..self }
    }

    /// Names the question, so that its caller can look up what became of its calls.
    pub fn with_verification_id(self, id: Uuid) -> Self {
        Self { verification_id: Some(id), ..self }
    }

    pub fn with_request_id(self, request_id: &str) -> Self {
        Self { request_id: request_id.to_owned(), ..self }
    }

    /// What happened and what to do, for a person.
    pub(in crate::server) fn in_words(&self) -> String {
        let errors = self.errors.iter().map(|error| match error.pointer.trim_start_matches('/') {
            "" => error.detail.clone(),
            member => format!("{}: {}", member.replace('_', " "), error.detail),
        });
        let errors: Vec<_> = errors.collect();
        if errors.is_empty() { self.detail.clone() } else { format!("{}: {}", self.title, errors.join("; ")) }
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// The id of the question, where a provider may have been called.
    pub fn verification_id(&self) -> Option<Uuid> {
        self.verification_id
    }

    /// Whether a provider may have charged for it; `false` if that is not known.
    pub fn may_have_been_billed(&self) -> bool {
        self.may_have_been_billed == Some(true)
    }

    /// The rule that the first mistake violates, for the log line.
    pub fn reason(&self) -> Option<&'static str> {
        self.errors.first().map(|error| error.reason)
    }

    /// The delay after which a retry can help, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_seconds.map(Duration::from_secs)
    }

    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The response with this problem as its body.
    pub fn to_response(&self, request_id: &str) -> Response<Body> {
        let document = self.clone().with_request_id(request_id);
        let status = self.code.status();
        // Serializing a struct of strings and numbers cannot fail; if it did, an empty body would still be sent.
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

/// For handlers behind a middleware that ends the request scope and writes the problem with the request id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        (*self).into_response()
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
            FailureKind::Overloaded => Code::Overloaded,
            FailureKind::OutcomeUnknown => Code::OutcomeUnknown,
            FailureKind::NotCached => Code::NotCached,
            FailureKind::EnumerationSuspected(_) => Code::EnumerationSuspected,
            FailureKind::BudgetExhausted => Code::BudgetExhausted,
            FailureKind::LedgerUnavailable => Code::LedgerUnavailable,
            FailureKind::Internal => Code::Internal,
        };
        let plain = match failure.kind {
            FailureKind::EnumerationSuspected(kind) => {
                let (pointer, detail) = match kind {
                    Kind::NamesPerNumber => ("/name", "this client has tried too many names for this number"),
                    Kind::NumbersPerClient => ("/id_number", "this client has asked about too many numbers"),
                };
                Self::new(code).with_error(pointer, kind.as_str(), detail)
            }
            _ => Self::new(code),
        };
        // A retry joins the call or finds its answer, so the caller need not wait long.
        let soon = (code == Code::OutcomeUnknown).then_some(SOON);
        let timed = match failure.retry_after.or(soon) {
            Some(after) => plain.with_retry_after(after),
            None => plain,
        };
        Self { may_have_been_billed: Some(failure.may_have_been_billed()), attempts: failure.attempts, ..timed }
    }
}
