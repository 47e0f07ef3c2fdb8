//! The four functions of a provider's protocol, in two traits: [`Protocol`] asks a provider, [`Service`] answers in its
//! place.

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

/// When a request is made, and the value that makes it unique.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The wall-clock time to sign.
    pub now: Timestamp,
    /// Unique per request.
    pub nonce: String,
}

/// The name and number that a provider is asked about.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The name.
    pub name: &'a str,
    /// The ID number.
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

/// The pair as a caller wrote it, not validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name.
    pub name: Personal,
    /// The ID number.
    pub id_number: Personal,
}

/// What an answer has to repeat or depends on.
#[derive(Debug, Clone, Default)]
pub struct ReplyTo {
    /// The reference that this call is given.
    pub request_id: String,
    /// The host that was asked.
    pub host: String,
    /// The media type that the caller wants, where the protocol has several (one of `Dialect::media_types`).
    pub media_type: Option<&'static str>,
    /// What the caller asked, where it could be read.
    pub asked: Option<Asked>,
    /// What goes with a verdict where the protocol repeats the person; without it,
    /// [`PersonDetails::of_number`].
    pub person: Option<PersonDetails>,
}

/// What a provider answers when it refuses: one documented code of its table.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which row.
    pub code: &'static Code,
    /// How long the caller should stay away.
    pub retry_after: Option<Duration>,
}

impl From<&'static Code> for Refusal {
    fn from(code: &'static Code) -> Self {
        Self { code, retry_after: None }
    }
}

/// How a provider is asked. Implementations hold settings, never state, and never a credential.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// The request that asks `endpoint` about `pair`, signed with `credential`.
    ///
    /// # Errors
    /// See [`EncodeError`]; nothing has been sent then.
    fn encode_request(
        &self,
        pair: Pair<'_>,
        endpoint: &Endpoint,
        credential: &Credential,
        stamp: &Stamp,
    ) -> Result<Request<Bytes>, EncodeError>;

    /// What the provider's answer means.
    ///
    /// # Errors
    /// Everything but a documented verdict about this very `pair` is a [`Fault`].
    fn decode_response(&self, pair: Pair<'_>, response: &Response<Bytes>) -> Result<Finding, Fault>;
}

/// The provider's side of its protocol, for the drop-in edge and the simulator.
pub trait Service: fmt::Debug + Send + Sync {
    /// Reads a request as the provider does, its signature checked against `keys` and the time of `stamp`.
    ///
    /// Never fails: a caller that is refused still gets an answer shaped by [`ReplyTo`].
    fn decode_request(
        &self,
        request: &Request<Bytes>,
        keys: &dyn CredentialStore,
        stamp: &Stamp,
    ) -> (Result<Asked, Refusal>, ReplyTo);

    /// The provider's answer, byte for byte in its dialect.
    fn encode_response(&self, answer: Result<Verdict, Refusal>, reply_to: &ReplyTo) -> Response<Bytes>;

    /// A good answer about `other`, from a simulator that mixes people up.
    ///
    /// Only for protocols that repeat the person; the rest return `None`.
    fn encode_wrong_echo(&self, _verdict: Verdict, _reply_to: &ReplyTo, _other: &Asked) -> Option<Response<Bytes>> {
        None
    }
}

/// Whether a status is a redirect. None is followed: a signed request must not be replayed elsewhere.
pub fn is_redirect(status: StatusCode) -> bool {
    status.is_redirection()
}
