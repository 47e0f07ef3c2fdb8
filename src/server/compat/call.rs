//! A request in a provider's protocol and its response, which uses the protocol's own codes.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use jiff::Timestamp;

use super::words;
use crate::providers::dialect::{Cause, Dialect};
use crate::providers::{Refusal, ReplyTo};
use crate::server::http::code::Code;
use crate::server::http::problem::{Problem, Refused};
use crate::server::pipeline::Delivered;

/// The verification id, for callers that look the answer up later.
const VERIFICATION_ID: HeaderName = HeaderName::from_static("x-idgate-verification-id");

#[derive(Debug)]
pub(super) struct Call {
    pub(super) protocol: &'static str,
    pub(super) dialect: &'static Dialect,
    /// What the codec needs to encode the response.
    pub(super) reply_to: ReplyTo,
    /// The protocol's own refusal.
    pub(super) refusal: Option<Refusal>,
    /// The key and the nonce that were taken, and until when.
    pub(super) nonce: Option<(Arc<str>, String, Timestamp)>,
}

impl Call {
    pub(super) fn to(protocol: &'static str, dialect: &'static Dialect, head: &Request<Bytes>) -> Self {
        let host = head.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(head.uri().authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned();
        let reply_to = ReplyTo { host, ..ReplyTo::default() };
        Self { protocol, dialect, reply_to, refusal: None, nonce: None }
    }

    /// Stores the protocol's refusal, which the caller gets, and returns the problem that we log for it.
    pub(super) fn refused(&mut self, refusal: Refusal) -> Refused {
        let problem = Problem::new(words::our_word(refusal.code));
        let problem = problem.with_error("", refusal.code.code, "is what the caller is told, in its protocol");
        let problem = match refusal.retry_after {
            Some(wait) => problem.with_retry_after(wait),
            None => problem,
        };
        self.refusal = Some(refusal);
        Box::new(problem)
    }

    /// Encodes the response.
    pub(super) fn write(&mut self, result: &Result<Delivered, Refused>, request_id: &str) -> Response {
        let answer = match result {
            Ok(delivered) => Ok(delivered.verified.verdict),
            Err(problem) => Err(self.refusal_of(problem)),
        };
        // The caller stores this as the request id of the provider. With it, operators find the answer in our ledger,
        // or a refused request in our access log.
        let id = result.as_ref().ok().map(|delivered| delivered.verified.id.to_string());
        self.reply_to.request_id = id.as_deref().unwrap_or(request_id).to_ascii_uppercase();
        // A question without a verdict has an id too, if a provider may have been called.
        let unanswered = || result.as_ref().err()?.verification_id().map(|id| id.to_string());
        let id = id.or_else(unanswered);
        let mut response = self.dialect.service.encode_response(answer, &self.reply_to).map(Body::from);
        let headers = response.headers_mut();
        if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
            headers.insert(VERIFICATION_ID, id);
        }
        // Intermediaries must not cache answers about people.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The protocol's own refusal if it applies to `problem`; otherwise the protocol's code for `problem`.
    fn refusal_of(&self, problem: &Problem) -> Refusal {
        let code = problem.code();
        let is_about_the_request = matches!(
            code,
            Code::MalformedRequest
                | Code::Unauthenticated
                | Code::NotFound
                | Code::MethodNotAllowed
                | Code::InvalidName
                | Code::InvalidIdNumber
        );
        let own = self.refusal.clone().filter(|_| is_about_the_request);
        // In these protocols "busy" means that nothing was started, and many clients retry immediately. So it must not
        // be sent when a call may have been made.
        let is_under_way = problem.may_have_been_billed() && words::cause(code) == Cause::Busy;
        let code = if is_under_way { Code::OutcomeUnknown } else { code };
        own.unwrap_or_else(|| words::refusal(self.dialect, code, problem.retry_after()))
    }
}
