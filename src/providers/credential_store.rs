//! Whose requests are accepted: how a server in a provider's protocol looks up the credential of a caller.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::credential::{Credential, Scheme};

/// What a request shows of its caller's credential: the public id, or the secret itself where that is the proof.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    scheme: &'static Scheme,
    shown: &'a str,
}

impl<'a> Presented<'a> {
    /// The id or bearer secret that a request shows.
    pub fn new(scheme: &'static Scheme, shown: &'a str) -> Self {
        Self { scheme, shown }
    }

    /// The scheme that the request uses.
    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// The id, or the secret of a bearer scheme.
    pub fn shown(&self) -> &'a str {
        self.shown
    }
}

impl fmt::Debug for Presented<'_> {
    /// Without what is shown: a bearer secret is one, and strangers may send anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({}, …)", self.scheme.name)
    }
}

/// What became of a nonce that a caller has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It came for the first time, and is remembered from now on.
    New,
    /// It came before.
    Seen,
    /// Too many nonces of this caller are remembered: it is too fast.
    NoRoom,
}

/// Looks up the credentials of callers. A simulator has one, the drop-in edge many.
pub trait CredentialStore {
    /// The credential of the caller, if there is one. Compares bearer secrets in constant time.
    fn find(&self, presented: Presented<'_>) -> Option<&Credential>;

    /// Whether the caller's credential was valid once and has ended.
    fn has_ended(&self, _presented: Presented<'_>) -> bool {
        false
    }

    /// Called once the request's signature was found valid, by protocols that sign and have no nonce.
    fn authenticated(&self, _presented: Presented<'_>) {}

    /// Remembers the `nonce` of a request whose signature is valid, until the signature's time is over at `until`. Only
    /// [`Taken::New`] is accepted. Not called for bearer secrets, which sign nothing.
    ///
    /// Default: no replay protection.
    fn take_nonce(&self, _presented: Presented<'_>, _nonce: &str, _until: Timestamp) -> Taken {
        Taken::New
    }

    /// Whether a bearer secret is accepted in the URL too, where access logs may keep it.
    fn takes_secrets_from_url(&self) -> bool {
        false
    }
}

impl CredentialStore for Arc<[Credential]> {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        self.iter().find_map(|credential| credential.find(presented))
    }
}

impl CredentialStore for Credential {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        let same = self.of(presented.scheme)?;
        let is_theirs = match presented.scheme.is_bearer {
            true => self.secret().matches(presented.shown.as_bytes()),
            false => self.id() == presented.shown,
        };
        is_theirs.then_some(same)
    }
}
