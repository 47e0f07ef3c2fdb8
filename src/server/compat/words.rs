//! Maps our error codes to those of a protocol, and back.
//!
//! Invariant: every code of ours has a cause, and every protocol has a code for every cause.

use std::time::Duration;

use crate::domain::outcome::{Outcome, Reason};
use crate::providers::dialect::{Cause, Dialect};
use crate::providers::{self, Refusal};
use crate::server::http::code::Code;

/// The cause for which every protocol has a code.
pub const fn cause(code: Code) -> Cause {
    match code {
        Code::MalformedRequest
        | Code::NotAcceptable
        | Code::UnsupportedMediaType
        | Code::IdempotencyKeyReused
        | Code::ReceiptUnavailable
        | Code::InvalidConfiguration => Cause::Malformed,
        Code::PayloadTooLarge => Cause::BodyTooLarge,
        Code::HeadersTooLarge => Cause::HeadTooLarge,
        Code::RequestTimeout => Cause::Late,
        Code::NotFound => Cause::NoSuchPath,
        Code::MethodNotAllowed => Cause::NoSuchMethod,
        Code::Unauthenticated => Cause::Unauthenticated,
        Code::Forbidden => Cause::Forbidden,
        Code::InvalidName => Cause::InvalidName,
        Code::InvalidIdNumber => Cause::InvalidNumber,
        Code::UnsupportedDocument | Code::RejectedByProvider => Cause::RejectedPair,
        Code::RateLimited => Cause::TooFast,
        Code::SubjectThrottled | Code::EnumerationSuspected => Cause::TooOften,
        Code::BudgetExhausted => Cause::BudgetSpent,
        Code::ProviderFailure => Cause::Failed,
        Code::NoProviderAvailable | Code::NotCached => Cause::Unavailable,
        Code::Overloaded | Code::ShuttingDown | Code::LedgerUnavailable | Code::IdempotencyInProgress => Cause::Busy,
        Code::OutcomeUnknown => Cause::Unknown,
        Code::Internal => Cause::Defect,
    }
}

/// The refusal that a protocol uses for our `code`, with a retry hint where its clients understand one.
pub fn refusal(dialect: &Dialect, code: Code, retry_after: Option<Duration>) -> Refusal {
    let cause = cause(code);
    let row = (dialect.word)(cause);
    // Vendor clients read a retry hint as throttling, whatever the code is, and so conclude that nothing was done. A
    // hint about one person would delay all other requests of the client, too.
    let is_throttled = row.outcome == Outcome::RateLimited && cause != Cause::TooOften;
    Refusal { code: row, retry_after: retry_after.filter(|_| is_throttled) }
}

/// Our code to log when the protocol itself refuses a request.
pub(super) fn our_word(row: &providers::Code) -> Code {
    match (row.reason, row.status) {
        _ if matches!(row.outcome, Outcome::RateLimited) => Code::RateLimited,
        (_, 405) => Code::MethodNotAllowed,
        (Reason::Misconfigured, _) => Code::NotFound,
        (Reason::KeyRefused | Reason::SignatureRefused | Reason::Clock | Reason::NonceReused, _) => {
            Code::Unauthenticated
        }
        _ => Code::MalformedRequest,
    }
}
