//! Services that issue temporary credentials, simulated by a sandbox: the server side of a
//! [`Source`](super::source::Source).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use super::credential::Scheme;
use super::credential_store::CredentialStore;
use super::protocol::Stamp;
use super::source::Granted;

/// A service such as STS or the metadata service.
pub struct Place {
    /// Its name on the control routes; unique among all drivers.
    pub name: &'static str,
    /// The request path, where it can be configured.
    pub path: &'static str,
    /// The scheme of the issued credentials.
    pub scheme: &'static Scheme,
    /// The prefix of the ids of its credentials.
    pub id_prefix: &'static str,
    /// The member of its response with the secret, for a simulated response that lacks it.
    pub secret_member: &'static str,
    /// A well-formed error response.
    pub says_no: &'static str,
    pub answer: fn(&Request<Bytes>, &dyn Lender, &Stamp) -> Response<Bytes>,
}

/// The state that a service needs to respond.
pub trait Lender {
    /// The permanent credentials that the sandbox accepts.
    fn keys(&self) -> &dyn CredentialStore;

    /// Issues a temporary credential of the service's scheme, which the sandbox accepts from now on.
    fn lend(&self, lifetime: Duration) -> Granted;

    /// Issues a session token, or `None` if the service is configured without.
    fn session(&self) -> Option<String>;

    /// Whether this is one of its session tokens.
    fn knows_session(&self, token: &[u8]) -> bool;
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.name).finish()
    }
}
