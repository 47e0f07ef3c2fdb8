//! The service's own codes; the gateway's are in `alibaba::pop_error`.
//!
//! The documents contradict each other about statuses, so only the code decides, in a 200 body too.
//! To add one: a row. Among rows with the same meaning, the first is the one sent.

use crate::domain::outcome::{Outcome, Reason};
use crate::providers::Code;
use crate::providers::alibaba::pop_error;
use crate::providers::dialect::Cause;

/// A parameter is invalid.
pub const INVALID: Code =
    Code::new("InvalidParameter", 401, "Invalid parameter.", Outcome::InputRefused, Reason::Unspecified);

const REPEATED: Code = Code::new(
    "Forbidden.ExceptionRepeatedInvoke",
    400,
    "The number of repeated abnormal calls exceeds the limit.",
    Outcome::SubjectThrottled,
    Reason::Unspecified,
);
const DENIED: Code = Code::new(
    "Forbidden.RAMUserAccessDenied",
    403,
    "Grant the required permission to the Resource Access Management (RAM) user.",
    Outcome::AccountFault,
    Reason::NoPermission,
);

/// Every documented code except success.
pub static CODES: &[Code] = &[
    INVALID,
    REPEATED,
    Code::new(
        "Forbidden.AccountAccessDenied",
        403,
        "Activate ID Verification and ensure that your account has no overdue payments.",
        Outcome::AccountFault,
        Reason::NotActivated,
    ),
    DENIED,
    Code::new(
        "SuspiciousActivity",
        429,
        "The request was denied due to suspicious activity.",
        Outcome::RateLimited,
        Reason::Unspecified,
    ),
    Code::new(
        "Forbidden.ExceptionDataSource",
        500,
        "The authoritative data source service is abnormal.",
        Outcome::SourceDown,
        Reason::Unspecified,
    ),
];

pub fn row(code: &str, _message: &str) -> Option<&'static Code> {
    CODES.iter().find(|row| row.code == code)
}

/// The code for each cause.
pub fn word(cause: Cause) -> &'static Code {
    match cause {
        Cause::Forbidden => &DENIED,
        other => pop_error::word(other, &INVALID, &REPEATED),
    }
}
