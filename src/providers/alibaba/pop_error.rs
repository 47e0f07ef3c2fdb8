//! The errors of the RPC gateway ("POP"): its codes, the faults they map to, and the error document.
//!
//! Products use different statuses for the same code, so [`row`] looks at the code only. The message can contain the
//! string to sign, and with it personal data: it is never read, and only written from the table.
//! To add a code: one constant (or one row of [`CODES`]). Among rows with the same meaning, the first is the one sent.

use std::borrow::Cow;

use roxmltree::{Document, ParsingOptions};
use serde::{Deserialize, Serialize};

use crate::domain::money::Billed;
use crate::domain::outcome::{Outcome, Reason};
use crate::providers::Code;
use crate::providers::dialect::Cause;

/// The method is neither POST nor GET.
pub const METHOD: Code = form("UnsupportedHTTPMethod", 405, "This http method is not supported.");
/// Wrong action or path.
pub const ACTION: Code =
    misconfigured("InvalidAction.NotFound", 404, "Specified api is not found, please check your url and method.");
pub const VERSION: Code = misconfigured("InvalidVersion", 400, "Specified parameter Version is not valid.");
/// A V1 signature method other than HMAC-SHA1.
pub const SIGNATURE_METHOD: Code =
    form("InvalidSignatureMethod", 400, "Specified parameter SignatureMethod is not valid.");
/// A V1 signature version other than 1.0.
pub const SIGNATURE_VERSION: Code =
    form("InvalidSignatureVersion", 400, "Specified parameter SignatureVersion is not valid.");
/// The signature is malformed or omits a required header.
pub const INCOMPLETE: Code =
    form("IncompleteSignature", 400, "The request signature does not conform to the standards.");
pub const KEY_NOT_FOUND: Code = key("InvalidAccessKeyId.NotFound", 404, "Specified access key is not found.");
/// The time stamp is too far from the clock.
pub const TIME_EXPIRED: Code = clock("InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.");
pub const TIME_FORMAT: Code =
    clock("InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.");
/// Wrong secret or altered request. The real message continues with the string to sign, which contains personal data.
/// The colon stays because one of the vendor's clients parses the text behind it and fails without one.
pub const SIGNATURE: Code = Code::new(
    "SignatureDoesNotMatch",
    400,
    "Specified signature is not matched with our calculation. server string to sign is:",
    Outcome::AccountFault,
    Reason::SignatureRefused,
);
pub const TOKEN_MISSING: Code = key("MissingSecurityToken", 400, "SecurityToken is mandatory for this action.");
/// The token belongs to another key.
pub const TOKEN_MISMATCH: Code = key(
    "InvalidSecurityToken.MismatchWithAccessKey",
    400,
    "Specified SecurityToken is not matched with the access key.",
);
/// The token has expired.
pub const TOKEN_ENDED: Code = key("InvalidSecurityToken.Expired", 400, "Specified SecurityToken is expired.");
/// The key has expired.
pub const KEY_INACTIVE: Code = key("InvalidAccessKeyId.Inactive", 400, "Specified access key is disabled.");
/// The nonce was used before. Ours never repeat, so this means that the request was duplicated and the first copy may
/// have been processed.
pub const NONCE_USED: Code = Code::new(
    "SignatureNonceUsed",
    400,
    "Specified signature nonce was used already.",
    Outcome::Interrupted,
    Reason::NonceReused,
);
/// The caller is throttled.
pub const THROTTLED: Code = limited("Throttling.User", "Request was denied due to user flow control.");
/// Internal error; the outcome of the request is unknown.
pub const INTERNAL: Code = failed("InternalError", 500, "The request processing has failed due to some unknown error.");
/// The service is temporarily unavailable.
pub const UNAVAILABLE: Code =
    failed("ServiceUnavailable", 503, "The request has failed due to a temporary failure of the server.");
/// The caller is not authorized.
pub const DENIED: Code = permission(
    "Forbidden.RAM",
    "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
);
/// A mandatory business parameter is missing or empty.
pub const PARAMETER_MISSING: Code = input("MissingParameter", "A parameter cannot be empty.");

/// Every documented code of the gateway, and the families for undocumented codes (see [`row`]).
pub static CODES: &[Code] = &[
    PARAMETER_MISSING,
    input("MissingUserName", "UserName is mandatory for this action."),
    input("MissingIdentifyNum", "IdentifyNum is mandatory for this action."),
    THROTTLED,
    limited("Throttling.Api", "Request was denied due to api flow control."),
    limited("Throttling", "Request was denied due to flow control."),
    INTERNAL,
    UNAVAILABLE,
    KEY_NOT_FOUND,
    KEY_INACTIVE,
    key("InvalidAccessKeyId", 400, "Specified access key is not valid."),
    TOKEN_ENDED,
    key("InvalidSecurityToken.Malformed", 400, "Specified SecurityToken is malformed."),
    TOKEN_MISMATCH,
    key("InvalidSecurityToken", 400, "Specified SecurityToken is not valid."),
    TOKEN_MISSING,
    SIGNATURE,
    NONCE_USED,
    TIME_EXPIRED,
    TIME_FORMAT,
    clock("InvalidTimeStamp", "Specified time stamp or date value is not valid."),
    clock("IllegalTimestamp", "Specified time stamp is not legal."),
    DENIED,
    permission("NoPermission", "You are not authorized to perform this action."),
    permission("Forbidden", "You are not authorized to operate on the specified resource."),
    ACTION,
    misconfigured("InvalidApi.NotFound", 404, "Specified api is not found, please check your url and method."),
    VERSION,
    misconfigured("InvalidProtocol.NeedSsl", 400, "Your request is denied as lack of ssl protect."),
    INCOMPLETE,
    SIGNATURE_METHOD,
    SIGNATURE_VERSION,
    METHOD,
    form("MissingAction", 400, "Action is mandatory for this action."),
    form("MissingVersion", 400, "Version is mandatory for this action."),
    form("MissingAccessKeyId", 400, "AccessKeyId is mandatory for this action."),
    form("MissingSignature", 400, "Signature is mandatory for this action."),
    form("MissingSignatureMethod", 400, "SignatureMethod is mandatory for this action."),
    form("MissingSignatureVersion", 400, "SignatureVersion is mandatory for this action."),
    form("MissingSignatureNonce", 400, "SignatureNonce is mandatory for this action."),
    form("MissingTimestamp", 400, "Timestamp is mandatory for this action."),
    form("Missing", 400, "A parameter is mandatory for this action."),
];

/// Code prefixes, each also a row: an undocumented longer code has the meaning of its prefix.
const FAMILIES: [&str; 6] =
    ["Throttling.", "InternalError.", "InvalidAccessKeyId.", "InvalidSecurityToken.", "InvalidTimeStamp.", "Missing"];

/// The row of a code: an exact match, else its family.
pub fn row(code: &str) -> Option<&'static Code> {
    let exact = |wanted: &str| CODES.iter().find(|row| row.code == wanted);
    exact(code).or_else(|| {
        let family = FAMILIES.iter().find(|family| code.starts_with(**family))?;
        exact(family.trim_end_matches('.'))
    })
}

/// The gateway's code for each cause. `invalid` is the service's code for invalid input, `repeated` its code for a
/// person who is checked too often.
pub const fn word(cause: Cause, invalid: &'static Code, repeated: &'static Code) -> &'static Code {
    match cause {
        Cause::Malformed | Cause::BodyTooLarge | Cause::HeadTooLarge => invalid,
        Cause::InvalidName | Cause::InvalidNumber | Cause::RejectedPair => invalid,
        Cause::NoSuchPath => &ACTION,
        Cause::NoSuchMethod => &METHOD,
        Cause::Unauthenticated => &KEY_NOT_FOUND,
        Cause::Forbidden => &DENIED,
        // Not a code of arrears: the account is ours, and the caller has only used up its quota.
        Cause::TooFast | Cause::BudgetSpent => &THROTTLED,
        Cause::TooOften => repeated,
        Cause::Failed | Cause::Unavailable | Cause::Busy | Cause::Late => &UNAVAILABLE,
        Cause::Unknown | Cause::Defect => &INTERNAL,
    }
}

/// The error for a missing public parameter `name`.
pub fn missing(name: &str) -> &'static Code {
    CODES.iter().find(|row| row.code.strip_prefix("Missing") == Some(name)).unwrap_or(&INCOMPLETE)
}

#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct PopError<'a> {
    pub request_id: Cow<'a, str>,
    pub host_id: Cow<'a, str>,
    pub code: Cow<'a, str>,
    pub message: Cow<'a, str>,
    /// The help link; JSON only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommend: Option<Cow<'a, str>>,
}

impl PopError<'_> {
    /// The document as XML, the default for V1 callers.
    pub fn to_xml(&self) -> String {
        let fields = [
            element("RequestId", &self.request_id),
            element("HostId", &self.host_id),
            element("Code", &self.code),
            element("Message", &self.message),
        ];
        format!("{XML_HEAD}<Error>{}</Error>", fields.concat())
    }

    /// Parses the XML form; `None` unless it is an `<Error>` document with exactly one `<Code>`.
    pub fn from_xml(text: &str) -> Option<PopError<'static>> {
        // A document has about ten nodes; entity expansion is off by default.
        let options = ParsingOptions { nodes_limit: 256, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).ok()?;
        let root = document.root_element();
        let only = |name: &str| {
            let mut found = root.children().filter(|child| child.has_tag_name(name));
            let text = found.next().and_then(|child| child.text()).map(|text| Cow::Owned(text.to_owned()));
            if found.next().is_some() { None } else { text }
        };
        let code = only("Code").filter(|_| root.has_tag_name("Error"))?;
        let [request_id, host_id, message] =
            ["RequestId", "HostId", "Message"].map(|name| only(name).unwrap_or_default());
        Some(PopError { request_id, host_id, code, message, recommend: None })
    }
}

pub const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

pub fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// Replaces characters that XML does not allow with U+FFFD.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c.is_ascii_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}

const fn input(code: &'static str, message: &'static str) -> Code {
    Code::new(code, 400, message, Outcome::InputRefused, Reason::Unspecified)
}

const fn limited(code: &'static str, message: &'static str) -> Code {
    Code::new(code, 400, message, Outcome::RateLimited, Reason::Unspecified)
}

const fn failed(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::ProviderError, Reason::Unspecified)
}

const fn key(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::AccountFault, Reason::KeyRefused)
}

const fn clock(code: &'static str, message: &'static str) -> Code {
    Code::new(code, 400, message, Outcome::AccountFault, Reason::Clock)
}

const fn permission(code: &'static str, message: &'static str) -> Code {
    Code::new(code, 403, message, Outcome::AccountFault, Reason::NoPermission)
}

const fn misconfigured(code: &'static str, status: u16, message: &'static str) -> Code {
    Code::new(code, status, message, Outcome::AccountFault, Reason::Misconfigured)
}

/// A request that the gateway cannot parse. It never reached the service, so it was not billed.
const fn form(code: &'static str, status: u16, message: &'static str) -> Code {
    let row = Code::new(code, status, message, Outcome::Unreadable, Reason::RequestForm);
    Code { billed: Some(Billed::No), ..row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_known_family_means_what_the_family_means() {
        for (code, expected) in [
            ("Throttling.User", "Throttling.User"),
            ("Throttling.Group", "Throttling"),
            ("InternalError.Db", "InternalError"),
            ("InvalidAccessKeyId.Odd", "InvalidAccessKeyId"),
            ("InvalidSecurityToken.Odd", "InvalidSecurityToken"),
            ("InvalidTimeStamp.Odd", "InvalidTimeStamp"),
            ("MissingRegionId", "Missing"),
            ("MissingSecurityToken", "MissingSecurityToken"),
        ] {
            assert_eq!(row(code).map(|row| row.code), Some(expected));
        }
        for unknown in ["", "Throttl", "throttling", "ThrottlingX", "Forbidden.Odd", "200", "InvalidAction"] {
            assert_eq!(row(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn every_code_has_one_row_and_every_family_its_own() {
        for code in CODES {
            assert_eq!(row(code.code), Some(code));
            assert_eq!(CODES.iter().filter(|other| other.code == code.code).count(), 1, "{}", code.code);
        }
        for family in FAMILIES {
            assert!(CODES.iter().any(|row| row.code == family.trim_end_matches('.')), "{family}");
        }
    }

    #[test]
    fn an_error_survives_xml_whatever_the_host_calls_itself() {
        let error = PopError {
            request_id: "130A2C10".into(),
            host_id: "a&b<c>]]>\"'".into(),
            code: "InvalidTimeStamp.Expired".into(),
            message: "Specified time stamp or date value is expired.".into(),
            recommend: None,
        };
        assert_eq!(PopError::from_xml(&error.to_xml()), Some(error));
    }

    #[test]
    fn xml_that_is_no_error_document_is_nothing() {
        let deep = "<a>".repeat(100_000);
        for text in [
            "",
            "<html><body>502 Bad Gateway</body></html>",
            "<Error><Code>a</Code><Code>b</Code></Error>",
            "<Error><Code/></Error>",
            "<Other><Code>a</Code></Other>",
            "<!DOCTYPE e [<!ENTITY x \"y\">]><Error><Code>&x;</Code></Error>",
            deep.as_str(),
        ] {
            assert_eq!(PopError::from_xml(text), None);
        }
    }
}
