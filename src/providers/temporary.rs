//! Places that hand out temporary credentials, as a sandbox plays them: the other side of a
//! [`Source`](super::source::Source).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use super::credential::Scheme;
use super::credential_store::CredentialStore;
use super::protocol::Stamp;
use super::source::Granted;

/// One place, such as a security token service or a machine's metadata service.
pub struct Place {
    /// Its name on the control routes; unique among all drivers.
    pub name: &'static str,
    /// The path to ask, where there is one to configure.
    pub path: &'static str,
    /// What it hands out.
    pub scheme: &'static Scheme,
    /// What the ids of its credentials begin with.
    pub id_prefix: &'static str,
    /// The member of its answer that holds the secret, for a simulated answer that lacks it.
    pub secret_member: &'static str,
    /// A well-formed answer that says no.
    pub says_no: &'static str,
    /// The answer to a request.
    pub answer: fn(&Request<Bytes>, &dyn Lender, &Stamp) -> Response<Bytes>,
}

/// What a place has at hand when it answers.
pub trait Lender {
    /// The permanent credentials that the sandbox accepts.
    fn keys(&self) -> &dyn CredentialStore;

    /// A new temporary credential of the place's scheme, accepted by the sandbox from now on.
    fn lend(&self, lifetime: Duration) -> Granted;

    /// A new session token of the place's own, or `None` if it is to hand out none.
    fn session(&self) -> Option<String>;

    /// Whether that is one of its session tokens.
    fn knows_session(&self, token: &[u8]) -> bool;
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.name).finish()
    }
}
