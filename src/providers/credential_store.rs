//! Looks up callers' credentials for the servers of provider protocols.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::credential::{Credential, Scheme};

/// The part of a credential that a request presents: the public id, or the secret of a bearer scheme.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    scheme: &'static Scheme,
    shown: &'a str,
}

impl<'a> Presented<'a> {
    pub fn new(scheme: &'static Scheme, shown: &'a str) -> Self {
        Self { scheme, shown }
    }

    pub fn scheme(&self) -> &'static Scheme {
        self.scheme
    }

    /// The id, or the secret of a bearer scheme.
    pub fn shown(&self) -> &'a str {
        self.shown
    }
}

impl fmt::Debug for Presented<'_> {
    /// Omits the presented text: it may be a bearer secret, and it is untrusted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({}, …)", self.scheme.name)
    }
}

/// The result of recording a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// New, and recorded.
    New,
    /// Used before.
    Seen,
    /// Too many nonces of this caller are recorded: it is too fast.
    NoRoom,
}

/// Looks up callers' credentials. A simulator has one credential, the drop-in edge many.
pub trait CredentialStore {
    /// The caller's credential, if known. Compares bearer secrets in constant time.
    fn find(&self, presented: Presented<'_>) -> Option<&Credential>;

    /// Whether the caller's credential was valid once and has expired.
    fn has_ended(&self, _presented: Presented<'_>) -> bool {
        false
    }

    /// Called after a valid signature by signing protocols without a nonce.
    fn authenticated(&self, _presented: Presented<'_>) {}

    /// Records the `nonce` of a request with a valid signature, until the signature expires at `until`. Only
    /// [`Taken::New`] is accepted. Not called for bearer secrets, which do not sign.
    ///
    /// Default: no replay protection.
    fn take_nonce(&self, _presented: Presented<'_>, _nonce: &str, _until: Timestamp) -> Taken {
        Taken::New
    }

    /// Whether a bearer secret is also accepted in the URL, where access logs may record it.
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
