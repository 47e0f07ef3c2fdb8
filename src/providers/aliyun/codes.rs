//! The service's codes, all sent in a 200 body. The gateway's own codes are in `alibaba::pop_error`.
//!
//! To add one: a row. Among rows with the same meaning, the first is the one sent.

use crate::domain::outcome::{Outcome, Reason};
use crate::providers::Code;
use crate::providers::alibaba::pop_error;
use crate::providers::dialect::Cause;

pub const EMPTY: Code = Code::new("400", 200, "参数不能为空", Outcome::InputRefused, Reason::Unspecified);
/// A parameter is invalid.
pub const INVALID: Code = Code::new("401", 200, "参数非法", Outcome::InputRefused, Reason::Unspecified);

const SOURCE: &str = "402";
const REPEATED: Code = Code::new("403", 200, "异常重复调用", Outcome::SubjectThrottled, Reason::Unspecified);
const FAILED: Code = Code::new("500", 200, "系统错误", Outcome::ProviderError, Reason::Unspecified);

/// Every documented code except success.
pub static CODES: &[Code] = &[
    INVALID,
    EMPTY,
    Code::new(SOURCE, 200, "权威源服务异常", Outcome::SourceDown, Reason::Unspecified),
    // The same code also means a security policy or a missing permission; only the text distinguishes them.
    Code::new(SOURCE, 200, "无权限调用", Outcome::AccountFault, Reason::NoPermission),
    REPEATED,
    Code::new("410", 200, "未开通服务", Outcome::AccountFault, Reason::NotActivated),
    Code::new("411", 200, "RAM无权限", Outcome::AccountFault, Reason::NoPermission),
    Code::new("412", 200, "欠费中", Outcome::AccountFault, Reason::Arrears),
    FAILED,
];

/// Words in texts about permissions or policies.
const DENIED: [&str; 6] = ["权限", "策略", "授权", "permission", "policy", "authoriz"];

/// The row of a code; the text selects where a code has two meanings.
pub fn row(code: &str, message: &str) -> Option<&'static Code> {
    let message = message.to_lowercase();
    let denied = code == SOURCE && DENIED.iter().any(|word| message.contains(word));
    CODES.iter().find(|row| row.code == code && (!denied || row.outcome == Outcome::AccountFault))
}

/// The code for each cause. When every provider failed, the reply is the service's own code for that, so that a caller
/// with a second endpoint tries it.
pub fn word(cause: Cause) -> &'static Code {
    match cause {
        Cause::Failed => &FAILED,
        other => pop_error::word(other, &INVALID, &REPEATED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_402_about_permission_is_the_accounts_fault_and_any_other_the_sources() {
        for (message, expected) in [
            ("权威源服务异常", Outcome::SourceDown),
            ("", Outcome::SourceDown),
            ("The authoritative source is unavailable.", Outcome::SourceDown),
            ("无权限调用", Outcome::AccountFault),
            ("触发安全策略", Outcome::AccountFault),
            ("Blocked by a security Policy.", Outcome::AccountFault),
            ("No PERMISSION for the call", Outcome::AccountFault),
        ] {
            assert_eq!(row("402", message).map(|row| row.outcome), Some(expected), "{message}");
        }
    }

    #[test]
    fn the_text_matters_for_no_other_code() {
        assert_eq!(row("403", "无权限 permission").map(|row| row.outcome), Some(Outcome::SubjectThrottled));
        assert_eq!(row("405", "无权限"), None);
    }
}
