//! The RPC gateway, for one action: a driver is an [`Action`], its table of codes and its settings, nothing more.
//!
//! Invariant: what the two actions differ in is data in [`Action`]; this folder names no action.
//! To add one: a driver folder with an `Action` and a `Driver`, whose `configure` calls [`configure`].

pub(super) mod gate;
mod reply;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Request, Response};

use super::{acs3, credentials, form, rpc_v1, seal};
use crate::domain::outcome::Fault;
use crate::domain::personal::Secret;
use crate::domain::subject::Subject;
use crate::domain::verdict::{Finding, Verdict};
use crate::providers::dialect::Addressed;
use crate::providers::{
    Access, Asked, Code, Configured, Credential, Endpoint, Keyring, Mistakes, Protocol, Refusal, ReplyTo, Settings,
    Stamp,
};

/// The type of a form body.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
const X_ACS_ACTION: HeaderName = HeaderName::from_static("x-acs-action");
const X_ACS_VERSION: HeaderName = HeaderName::from_static("x-acs-version");
const X_ACS_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-acs-security-token");
const X_ACS_ACCESSKEY_ID: HeaderName = HeaderName::from_static("x-acs-accesskey-id");

/// One action of the gateway: all that its driver adds to what is written here.
#[derive(Debug)]
pub struct Action {
    /// `Action` on the wire; the case counts.
    pub name: &'static str,
    /// `Version` on the wire.
    pub version: &'static str,
    /// Where we put parameters; read from anywhere.
    pub place: Place,
    /// Business parameters that are the same for everybody, as name and value.
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
pub enum Place {
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

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    V1,
    V3,
}

/// The four functions of an action.
#[derive(Debug)]
struct Rpc {
    action: &'static Action,
    scheme: Scheme,
}

/// Settings that hold secrets.
pub const SECRETS: &[&str] = &["access_key_id", "access_key_secret", "security_token"];

/// The variables that the ways to a credential read.
pub const VARIABLES: &[&str] = credentials::VARIABLES;

/// Builds the protocol of `action` from `signature` = `"v3"` (default) or `"v1"` and either `access_key_id`,
/// `access_key_secret` and optional `security_token`, or the table `credentials` (see [`credentials`]).
///
/// # Errors
/// All mistakes, as (key, what to do).
pub fn configure(action: &'static Action, settings: &Settings) -> Result<Configured, Mistakes> {
    let mut mistakes = Mistakes::new();
    let access = if credentials::is_present(settings) {
        for key in SECRETS.iter().filter(|key| settings.secret.contains_key(**key)) {
            mistakes.push((key, "excludes credentials; remove one or the other".to_owned()));
        }
        credentials::configure(settings, &mut mistakes).map(|source| Access::Fetched(Arc::new(source)))
    } else {
        given(settings, &mut mistakes).map(Access::Given)
    };
    let scheme = match settings.plain.get("signature").map(String::as_str) {
        None | Some("v3") => Scheme::V3,
        Some("v1") => Scheme::V1,
        Some(_) => {
            mistakes.push(("signature", "must be \"v3\" or \"v1\"".to_owned()));
            Scheme::V3
        }
    };
    let unknown_plain = settings.plain.keys().filter(|key| *key != "signature");
    let unknown_secret = settings.secret.keys().filter(|key| !SECRETS.contains(&key.as_str()));
    for key in unknown_plain.chain(unknown_secret).filter(|key| !credentials::is_ours(key)) {
        let takes = format!("takes no `{key}`; it takes {}, credentials and signature", SECRETS.join(", "));
        mistakes.push(("driver", takes));
    }
    match access {
        Some(access) if mistakes.is_empty() => Ok(Configured { protocol: Arc::new(Rpc { action, scheme }), access }),
        _ => Err(mistakes),
    }
}

/// How surely `request` is a call of `action`.
pub fn addressed(action: &Action, request: &Request<Bytes>) -> Addressed {
    gate::addressed(action, request)
}

/// The credential that is written into the section.
fn given(settings: &Settings, mistakes: &mut Mistakes) -> Option<Credential> {
    let mut visible = |key: &'static str, required: bool| {
        let text = settings.secret.get(key).map(Secret::expose);
        match text {
            None | Some("") if required => mistakes.push((key, "is missing".to_owned())),
            // Also catches the line feed at the end of a file.
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') => {
                mistakes.push((key, "holds white space, a comma or another character that no key has".to_owned()));
            }
            _ => {}
        }
        text.filter(|text| !text.is_empty())
    };
    let id = visible("access_key_id", true);
    let secret = visible("access_key_secret", true);
    let security_token = visible("security_token", false).map(Secret::new);
    Some(Credential::AccessKey { id: id?.to_owned(), secret: Secret::new(secret?), security_token })
}

impl Protocol for Rpc {
    fn encode_request(
        &self,
        subject: &Subject,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, http::Error> {
        let Credential::AccessKey { id, secret, security_token } = credential else {
            // An empty method is the way to make `http` say no.
            return Request::builder().method("").body(Bytes::new());
        };
        let key = Key { id, secret, token: security_token.as_ref().map(Secret::expose) };
        let mut parameters = vec![("IdentifyNum", subject.id_number()), ("UserName", subject.name())];
        parameters.extend(self.action.fixed);
        match self.scheme {
            Scheme::V1 => self.action.request_v1(parameters, endpoint, key, stamp),
            Scheme::V3 => self.action.request_v3(parameters, endpoint, key, stamp),
        }
    }

    fn decode_response(&self, _subject: &Subject, response: &Response<Bytes>) -> Result<Finding, Fault> {
        reply::decode(self.action, response)
    }

    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn Keyring,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo) {
        gate::decode(self.action, request, keys, stamp)
    }

    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes> {
        reply::encode(self.action, answer, reply_to)
    }
}

struct Key<'a> {
    id: &'a str,
    secret: &'a Secret,
    token: Option<&'a str>,
}

impl Action {
    fn request_v1(
        &self,
        business: Vec<(&str, &str)>,
        endpoint: &Endpoint,
        key: Key<'_>,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, http::Error> {
        let time = seal::time_stamp(stamp.now);
        let mut parameters: Vec<(&str, &str)> = business;
        parameters.extend([
            ("AccessKeyId", key.id),
            ("Action", self.name),
            ("Format", "JSON"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", &stamp.nonce),
            ("SignatureVersion", "1.0"),
            ("Timestamp", &time),
            ("Version", self.version),
        ]);
        parameters.extend(key.token.map(|token| ("SecurityToken", token)));
        let signature = rpc_v1::sign("POST", &parameters, key.secret);
        parameters.push((rpc_v1::SIGNATURE, &signature));
        self.request(parameters, endpoint)
    }

    fn request_v3(
        &self,
        business: Vec<(&str, &str)>,
        endpoint: &Endpoint,
        key: Key<'_>,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, http::Error> {
        let mut request = self.request(business, endpoint)?;
        let headers = request.headers_mut();
        headers.insert(X_ACS_ACTION, HeaderValue::from_static(self.name));
        headers.insert(X_ACS_VERSION, HeaderValue::from_static(self.version));
        headers.insert(acs3::DATE, HeaderValue::try_from(seal::time_stamp(stamp.now))?);
        headers.insert(acs3::NONCE, HeaderValue::from_str(&stamp.nonce)?);
        if let Some(token) = key.token {
            let mut token = HeaderValue::from_str(token)?;
            token.set_sensitive(true);
            headers.insert(X_ACS_SECURITY_TOKEN, token);
            headers.insert(X_ACS_ACCESSKEY_ID, HeaderValue::from_str(key.id)?);
        }
        acs3::sign(&mut request, key.id, key.secret)?;
        Ok(request)
    }

    /// The request before V3 signs it, or after V1 did.
    fn request(&self, mut parameters: Vec<(&str, &str)>, endpoint: &Endpoint) -> Result<Request<Bytes>, http::Error> {
        parameters.sort_unstable();
        let encoded = form::encode_pairs(parameters);
        // The host is set here and not by the HTTP client, because it is signed as written.
        let request =
            Request::post(endpoint.uri("/")?).header(HOST, endpoint.authority()).header(ACCEPT, "application/json");
        match self.place {
            Place::Form => request.header(CONTENT_TYPE, FORM).body(Bytes::from(encoded)),
            Place::Query => request.uri(endpoint.uri(&format!("/?{encoded}"))?).body(Bytes::new()),
        }
    }
}
