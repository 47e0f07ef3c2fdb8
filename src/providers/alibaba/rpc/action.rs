//! One action of the RPC gateway as data, and the names that all of them share on the wire.

use http::header::HeaderName;

use crate::providers::Code;

/// The type of a form body.
pub(in crate::providers::alibaba) const FORM: &str = "application/x-www-form-urlencoded";
/// The type of an answer in XML, which callers of V1 get unless they ask for JSON.
pub const XML: &str = "text/xml;charset=utf-8";

pub(super) const X_ACS_ACTION: HeaderName = HeaderName::from_static("x-acs-action");
pub(super) const X_ACS_VERSION: HeaderName = HeaderName::from_static("x-acs-version");
pub(super) const X_ACS_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-acs-security-token");
pub(super) const X_ACS_ACCESSKEY_ID: HeaderName = HeaderName::from_static("x-acs-accesskey-id");

/// One action of the gateway: all that its driver adds to what is written here.
#[derive(Debug)]
pub struct Action {
    /// `Action` on the wire; the case counts.
    pub name: &'static str,
    /// `Version` on the wire.
    pub version: &'static str,
    /// Where we put parameters; read from anywhere.
    pub place: Placement,
    /// Business parameters with a fixed value, as name and value.
    pub fixed: &'static [(&'static str, &'static str)],
    /// The `Code` of success.
    pub success: &'static str,
    /// The object of the answer that holds `BizCode`.
    pub object: ObjectName,
    /// What the product is called where an error sends its reader.
    pub product: &'static str,
    /// The page that an error recommends.
    pub help: &'static str,
    /// Refuses an empty parameter.
    pub empty: &'static Code,
    /// Refuses a parameter that breaks a rule.
    pub invalid: &'static Code,
    /// The row of a service code, given the text beside it for codes with several meanings.
    pub row: fn(code: &str, message: &str) -> Option<&'static Code>,
}

/// Where parameters travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the body, out of sight of access logs.
    Form,
    /// In the URL, for an action that documents nothing else.
    Query,
}

/// What an action calls the object with its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName {
    /// `ResultObject`.
    ResultObject,
    /// `Result`.
    Result,
}
