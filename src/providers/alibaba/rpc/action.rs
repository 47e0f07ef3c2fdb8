//! One action of the RPC gateway as data, and the names common to all actions.

use http::header::HeaderName;

use crate::providers::Code;

/// The type of a form body.
pub(in crate::providers::alibaba) const FORM: &str = "application/x-www-form-urlencoded";
/// Content type of an XML response, the default for callers of V1.
pub const XML: &str = "text/xml;charset=utf-8";

pub(super) const X_ACS_ACTION: HeaderName = HeaderName::from_static("x-acs-action");
pub(super) const X_ACS_VERSION: HeaderName = HeaderName::from_static("x-acs-version");
pub(super) const X_ACS_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-acs-security-token");
pub(super) const X_ACS_ACCESSKEY_ID: HeaderName = HeaderName::from_static("x-acs-accesskey-id");

/// One action of the gateway. Its driver defines nothing else.
#[derive(Debug)]
pub struct Action {
    /// `Action` on the wire, case-sensitive.
    pub name: &'static str,
    pub version: &'static str,
    /// Where we send parameters; the server side accepts any place.
    pub place: Placement,
    pub fixed: &'static [(&'static str, &'static str)],
    pub success: &'static str,
    /// The object of the response that contains `BizCode`.
    pub object: ObjectName,
    /// The product name in the help link of an error.
    pub product: &'static str,
    /// The page in the help link of an error.
    pub help: &'static str,
    /// The error for an empty parameter.
    pub empty: &'static Code,
    /// The error for an invalid parameter.
    pub invalid: &'static Code,
    /// Finds the row of a service code; the message selects among codes with several meanings.
    pub row: fn(code: &str, message: &str) -> Option<&'static Code>,
}

/// Where parameters are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the body, so that access logs do not record them.
    Form,
    /// In the URL, for an action that documents nothing else.
    Query,
}

/// The name of the result object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName {
    ResultObject,
    Result,
}
