//! The Result codes and error codes and the faults they map to.
//!
//! Invariants: only Results `0`, `-1` and `-5` are verdicts. No error code is a verdict, whatever its text. Result
//! numbers are per action: `-6` of a sibling action has another meaning. To add a code: a row. Among rows with the same
//! meaning, the first is the one sent.

use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::domain::verdict::Verdict;
use crate::providers::Code;
use crate::providers::dialect::Cause;

/// The Results with a verdict, and their texts.
pub const VERDICTS: [(Verdict, &str, &str); 3] = [
    (Verdict::Match, "0", "姓名和身份证号一致"),
    (Verdict::Mismatch, "-1", "姓名和身份证号不一致"),
    (Verdict::NoRecord, "-5", "证件库中无此身份证记录"),
];

/// A malformed ID number.
pub const BAD_NUMBER: Code = result("-2", "非法身份证号（长度、校验位等不正确）", Outcome::InputRefused);
/// A malformed name.
pub const BAD_NAME: Code = result("-3", "非法姓名（长度、格式等不正确）", Outcome::InputRefused);

const LIBRARY_FAILED: Code = result("-4", "证件库服务异常", Outcome::SourceDown);
const LIBRARY_UPGRADED: Code = result("-6", "权威比对系统升级中，请稍后再试", Outcome::SourceDown);
/// Either the name or the number has reached its daily limit; the response does not say which.
const TOO_OFTEN: Code = result("-7", "认证次数超过当日限制", Outcome::SubjectThrottled);

/// The Results without a verdict. Only `0` and `-1` are billed.
pub static RESULTS: &[Code] = &[BAD_NUMBER, BAD_NAME, LIBRARY_FAILED, LIBRARY_UPGRADED, TOO_OFTEN];

/// A malformed `Authorization` header.
pub const INVALID_AUTHORIZATION: Code =
    account("AuthFailure.InvalidAuthorization", "CAM签名/鉴权错误", Reason::SignatureRefused);
pub const UNKNOWN_KEY: Code = account(
    "AuthFailure.SecretIdNotFound",
    "The SecretId is not found, please ensure that your SecretId is correct.",
    Reason::KeyRefused,
);
/// The token is wrong or expired.
pub const TOKEN: Code = account(
    "AuthFailure.TokenFailure",
    "The provided credentials could not be validated because of \
                                 exceeding the token's expiration time or a wrong token.",
    Reason::KeyRefused,
);
/// The time stamp is more than five minutes off.
pub const EXPIRED: Code = account(
    "AuthFailure.SignatureExpire",
    "The provided credentials could not be validated because of exceeding request timestamp expiry limit.",
    Reason::Clock,
);
/// Wrong secret or altered request.
pub const SIGNATURE: Code = account(
    "AuthFailure.SignatureFailure",
    "The provided credentials could not be validated. Please check your signature is correct.",
    Reason::SignatureRefused,
);
/// A parameter has the wrong type, or the body is malformed.
pub const INVALID: Code = input("InvalidParameter", "参数错误");
pub const MISSING: Code = input("MissingParameter", "缺少参数错误");
/// Unknown parameter.
pub const UNKNOWN_PARAMETER: Code = form("UnknownParameter", "未知参数错误");
/// Encrypted parameters, which this side does not support.
pub const ENCRYPTED: Code = account("FailedOperation.DecryptSystemError", "解密失败", Reason::Misconfigured);
/// Wrong action or path.
pub const ACTION: Code = account("InvalidAction", "接口不存在", Reason::Misconfigured);
pub const VERSION: Code = account("NoSuchVersion", "接口版本不存在", Reason::Misconfigured);
/// The method is neither GET nor POST.
pub const METHOD: Code =
    account("UnsupportedProtocol", "HTTP(S)请求协议错误，只支持 GET 和 POST 请求", Reason::Misconfigured);

const BAD_VALUE: Code = input("InvalidParameterValue", "参数取值错误");
const TOO_BIG: Code = form("RequestSizeLimitExceeded", "请求包超过限制大小");
const FORBIDDEN: Code =
    account("AuthFailure.UnauthorizedOperation", "请求未授权。请参考 CAM 文档对鉴权的说明", Reason::NoPermission);
const CHARGES: Code = account("UnauthorizedOperation.ChargeStatusException", "计费状态异常", Reason::Arrears);
const INTERNAL: Code = failed(
    "InternalError",
    "An internal error has occurred. Retry your request, but if the problem persists, contact us.",
);
const DEFECT: Code = failed("InternalError.UnKnown", "内部未知错误");
const UNAVAILABLE: Code = free("ServiceUnavailable", "当前服务暂时不可用", Outcome::ProviderError);
const TOO_FAST: Code = free("RequestLimitExceeded", "请求的次数超过了频率限制", Outcome::RateLimited);
/// The same code is used for an exhausted quota and, with another text, for the rate limit.
const LIMIT: &str = "LimitExceeded";

/// Every error code documented for this action or for all actions, and those of sibling actions that may occur.
pub static ERRORS: &[Code] = &[
    // Documented for this action.
    INVALID_AUTHORIZATION,
    ENCRYPTED,
    account("FailedOperation.StsUnAuthErrError", "STS未授权", Reason::NoPermission),
    free("FailedOperation.UnKnown", "内部未知错误", Outcome::ProviderError),
    INVALID,
    account("InvalidParameter.UnsupportEncryptField", "存在不加密的字段，请参考文档修改", Reason::Misconfigured),
    BAD_VALUE,
    account("UnauthorizedOperation.Arrears", "账号已欠费", Reason::Arrears),
    CHARGES,
    account("UnauthorizedOperation.NonAuthorize", "账号未实名", Reason::NotActivated),
    account("UnauthorizedOperation.Nonactivated", "未开通服务", Reason::NotActivated),
    // Common to all actions.
    account("AuthFailure.InvalidSecretId", "密钥非法（不是云 API 密钥类型）", Reason::KeyRefused),
    UNKNOWN_KEY,
    SIGNATURE,
    EXPIRED,
    TOKEN,
    account("AuthFailure.MFAFailure", "MFA 错误", Reason::NoPermission),
    FORBIDDEN,
    account("AuthFailure", "CAM签名/鉴权错误", Reason::SignatureRefused),
    account("UnauthorizedOperation", "未授权操作", Reason::NoPermission),
    account("IpInBlacklist", "IP地址在黑名单中", Reason::NoPermission),
    account("IpNotInWhitelist", "IP地址不在白名单中", Reason::NoPermission),
    TOO_FAST,
    free("RequestLimitExceeded.UinLimitExceeded", "主账号超过频率限制", Outcome::RateLimited),
    free("RequestLimitExceeded.GlobalRegionUinLimitExceeded", "主账号超过频率限制", Outcome::RateLimited),
    free("RequestLimitExceeded.IPLimitExceeded", "IP限频", Outcome::RateLimited),
    free(LIMIT, "您当前每秒请求 `103` 次，超过了每秒频率上限 `100`，请稍后重试。", Outcome::RateLimited),
    account(LIMIT, "超过配额限制", Reason::QuotaUsedUp),
    INTERNAL,
    failed("FailedOperation", "操作失败"),
    UNAVAILABLE,
    failed("ResourceInsufficient", "资源不足"),
    failed("ResourceUnavailable", "资源不可用"),
    failed("ResourceInUse", "资源被占用"),
    failed("ResourceNotFound", "资源不存在"),
    failed("ResponseSizeLimitExceeded", "返回包超过限制大小"),
    MISSING,
    ACTION,
    VERSION,
    account("NoSuchProduct", "产品不存在", Reason::Misconfigured),
    account("ActionOffline", "接口已下线", Reason::Misconfigured),
    account("UnsupportedOperation", "操作不支持", Reason::Misconfigured),
    account("UnsupportedRegion", "接口不支持所传地域", Reason::Misconfigured),
    METHOD,
    UNKNOWN_PARAMETER,
    form("InvalidRequest", "请求 body 的 multipart 格式错误"),
    TOO_BIG,
    // Never sent by this action; only a Result is a verdict.
    unknown("DryRunOperation", "DryRun 操作，代表请求将会是成功的"),
    unknown("FailedOperation.IdNameMisMatch", "姓名和身份证号不一致"),
    unknown("FailedOperation.IdNoExistSystem", "库中无此号"),
    // Documented for sibling actions.
    free(
        "FailedOperation.IdentityAuthLimitExceeded",
        "姓名/身份证号认证次数超过当日限制，请次日重试",
        Outcome::SubjectThrottled,
    ),
    free("FailedOperation.RequestLimitExceeded", "调用次数超出限制", Outcome::RateLimited),
    free("FailedOperation.CompareLibServiceUnavailable", "比对库源维护中，暂时不可用", Outcome::SourceDown),
    free("FailedOperation.CompareSystemError", "比对系统错误", Outcome::SourceDown),
    free("FailedOperation.DbError", "数据库异常", Outcome::SourceDown),
    input("FailedOperation.IdFormatError", "身份证号格式错误"),
    input("FailedOperation.NameFormatError", "姓名格式错误"),
    DEFECT,
    failed("InternalError.EncryptSystemError", "加密失败"),
    account("UnauthorizedOperation.Activating", "服务开通中", Reason::NotActivated),
    account("UnauthorizedOperation.ActivateError", "服务开通异常", Reason::NotActivated),
    account("OperationDenied", "操作被拒绝", Reason::NoPermission),
    account("ResourceUnavailable.InArrears", "账号已欠费", Reason::Arrears),
    account("ResourceUnavailable.LowBalance", "余额不足", Reason::Arrears),
    account("ResourceUnavailable.ResourcePackageRunOut", "资源包余量耗尽", Reason::QuotaUsedUp),
    account("ResourcesSoldOut.ChargeStatusException", "计费状态异常", Reason::Arrears),
    account("FailedOperation.NoFreeAmount", "免费额度已用完", Reason::QuotaUsedUp),
];

/// Codes whose first half has the same meaning with an undocumented second half.
const FAMILIES: [&str; 4] = ["AuthFailure", "UnauthorizedOperation", "RequestLimitExceeded", "InternalError"];

/// Words in texts about the rate limit.
const RATE: [&str; 4] = ["频率", "每秒", "frequency", "per second"];

/// The row of an error code: an exact match (selected by the text where a code has two meanings), else its family.
pub fn error(code: &str, message: &str) -> Option<&'static Code> {
    let exact = |wanted: &str| ERRORS.iter().find(|row| row.code == wanted);
    if code == LIMIT {
        let message = message.to_lowercase();
        let is_rate = RATE.iter().any(|word| message.contains(word));
        return ERRORS.iter().find(|row| row.code == LIMIT && (row.outcome == Outcome::RateLimited) == is_rate);
    }
    exact(code).or_else(|| {
        let (family, _) = code.split_once('.')?;
        FAMILIES.contains(&family).then(|| exact(family)).flatten()
    })
}

pub fn result_row(result: &str) -> Option<&'static Code> {
    RESULTS.iter().find(|row| row.code == result)
}

/// The code for each cause.
pub fn word(cause: Cause) -> &'static Code {
    match cause {
        Cause::Malformed => &INVALID,
        Cause::BodyTooLarge | Cause::HeadTooLarge => &TOO_BIG,
        Cause::NoSuchPath => &ACTION,
        Cause::NoSuchMethod => &METHOD,
        Cause::Unauthenticated => &UNKNOWN_KEY,
        Cause::Forbidden => &FORBIDDEN,
        Cause::InvalidName => &BAD_NAME,
        Cause::InvalidNumber => &BAD_NUMBER,
        Cause::RejectedPair => &BAD_VALUE,
        // Two of the vendor's clients retry on this code, so it is only for requests that were not started.
        Cause::TooFast => &TOO_FAST,
        Cause::TooOften => &TOO_OFTEN,
        Cause::BudgetSpent => &CHARGES,
        Cause::Failed => &LIBRARY_FAILED,
        Cause::Unavailable => &LIBRARY_UPGRADED,
        Cause::Busy | Cause::Late => &UNAVAILABLE,
        // No client retries on this one, and it does not look like an unbilled failure.
        Cause::Unknown => &INTERNAL,
        Cause::Defect => &DEFECT,
    }
}

const fn result(code: &'static str, text: &'static str, outcome: Outcome) -> Code {
    free(code, text, outcome)
}

const fn free(code: &'static str, text: &'static str, outcome: Outcome) -> Code {
    Code { billed: Some(Billed::No), ..Code::new(code, 200, text, outcome, Reason::Unspecified) }
}

const fn input(code: &'static str, text: &'static str) -> Code {
    free(code, text, Outcome::InputRefused)
}

const fn account(code: &'static str, text: &'static str, reason: Reason) -> Code {
    Code { billed: Some(Billed::No), ..Code::new(code, 200, text, Outcome::AccountFault, reason) }
}

/// A request that the service cannot parse, so it was never processed.
const fn form(code: &'static str, text: &'static str) -> Code {
    Code { billed: Some(Billed::No), ..Code::new(code, 200, text, Outcome::Unreadable, Reason::RequestForm) }
}

const fn unknown(code: &'static str, text: &'static str) -> Code {
    Code::new(code, 200, text, Outcome::Unreadable, Reason::UnknownCode)
}

/// No document says whether these are billed.
const fn failed(code: &'static str, text: &'static str) -> Code {
    Code { billed: Some(Billed::Unknown), ..Code::new(code, 200, text, Outcome::ProviderError, Reason::Unspecified) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_lends_its_meaning_and_a_failed_operation_does_not() {
        for (code, expected) in [
            ("AuthFailure.Odd", Some("AuthFailure")),
            ("UnauthorizedOperation.Odd", Some("UnauthorizedOperation")),
            ("RequestLimitExceeded.Odd", Some("RequestLimitExceeded")),
            ("InternalError.Odd", Some("InternalError")),
            ("FailedOperation.Odd", None),
            ("InvalidParameter.Odd", None),
            ("InvalidParameterValue.Odd", None),
            ("ResourceUnavailable.Odd", None),
            ("LimitExceeded.Odd", None),
            ("authfailure", None),
            ("", None),
            ("0", None),
        ] {
            assert_eq!(error(code, "").map(|row| row.code), expected, "{code}");
        }
    }

    #[test]
    fn a_limit_is_the_rate_or_the_quota_by_its_text() {
        for (message, expected) in [
            ("您当前每秒请求 `103` 次，超过了每秒频率上限 `100`，请稍后重试。", Outcome::RateLimited),
            ("Over the Frequency limit", Outcome::RateLimited),
            ("100 calls per second", Outcome::RateLimited),
            ("超过配额限制", Outcome::AccountFault),
            ("", Outcome::AccountFault),
        ] {
            assert_eq!(error("LimitExceeded", message).map(|row| row.outcome), Some(expected), "{message}");
        }
    }

    #[test]
    fn every_code_has_one_row_but_the_one_with_two_meanings() {
        for row in ERRORS {
            let rows = ERRORS.iter().filter(|other| other.code == row.code).count();
            assert_eq!(rows, if row.code == LIMIT { 2 } else { 1 }, "{}", row.code);
            assert_eq!(error(row.code, row.message), Some(row));
        }
        for family in FAMILIES {
            assert!(ERRORS.iter().any(|row| row.code == family), "{family}");
        }
        for row in RESULTS {
            assert_eq!(row.fault().billed, Billed::No, "{}", row.code);
        }
    }
}
