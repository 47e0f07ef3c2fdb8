//! The four functions of a provider's protocol, in two traits: [`Protocol`] is the client side, [`Service`] the server
//! side.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jiff::Timestamp;

use super::code::Code;
use super::credential::Credential;
use super::credential_store::CredentialStore;
use super::encode_error::EncodeError;
use super::endpoint::Endpoint;
use super::person_details::PersonDetails;
use crate::domain::outcome::Fault;
use crate::domain::personal::Personal;
use crate::domain::subject::Subject;
use crate::domain::verdict::{Finding, Verdict};

/// The time and nonce of a request.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The wall-clock time to sign.
    pub now: Timestamp,
    /// Unique per request.
    pub nonce: String,
}

/// The name and number to verify.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub name: &'a str,
    pub id_number: &'a str,
}

impl<'a> From<&'a Subject> for Pair<'a> {
    fn from(subject: &'a Subject) -> Self {
        Self { name: subject.name(), id_number: subject.id_number() }
    }
}

impl fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// The pair as sent by a caller, not validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub name: Personal,
    pub id_number: Personal,
}

/// The parts of a request that its response repeats or depends on.
#[derive(Debug, Clone, Default)]
pub struct ReplyTo {
    /// The call reference.
    pub request_id: String,
    /// The requested host.
    pub host: String,
    /// The media type that the caller wants, where the protocol has several (one of `Dialect::media_types`).
    pub media_type: Option<&'static str>,
    /// The pair, if it could be parsed.
    pub asked: Option<Asked>,
    /// The details for a verdict, where the protocol returns them. Defaults to [`PersonDetails::of_number`].
    pub person: Option<PersonDetails>,
}

/// A provider's error response: one documented code of its table.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: &'static Code,
    /// The pause before a retry.
    pub retry_after: Option<Duration>,
}

impl From<&'static Code> for Refusal {
    fn from(code: &'static Code) -> Self {
        Self { code, retry_after: None }
    }
}

/// The client side of a protocol. Implementations hold settings, never state or a credential.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// Builds the request to `endpoint` about `pair`, signed with `credential`.
    ///
    /// # Errors
    /// See [`EncodeError`]; nothing was sent.
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError>;

    /// Interprets the provider's response.
    ///
    /// # Errors
    /// Anything but a documented verdict about this `pair` is a [`Fault`].
    fn decode_response(&self, pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault>;
}

/// The server side of a protocol, for the drop-in edge and the simulator.
pub trait Service: fmt::Debug + Send + Sync {
    /// Parses a request as the provider does, and checks its signature against `keys` and the time of `stamp`.
    ///
    /// Never fails: a rejected caller still gets a response in the format of [`ReplyTo`].
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn CredentialStore,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo);

    /// Builds the provider's response, byte for byte in its dialect.
    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes>;

    /// A success response about `other`, for a simulator that returns the wrong person.
    ///
    /// Only for protocols that echo personal data; others return `None`.
    fn encode_wrong_echo(&self, _verdict: Verdict, _reply_to: &ReplyTo, _other: &Asked) -> Option<Response<Bytes>> {
        None
    }
}

/// Whether a status is a redirect. Redirects are not followed: a signed request must not be replayed elsewhere.
pub fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection()
}
