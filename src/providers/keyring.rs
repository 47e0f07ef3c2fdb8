//! Whose requests are taken: how whoever answers in a provider's protocol finds the credential of a caller.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Credential;

/// Who a request claims to be from; finds the credential to check it with.
#[derive(Clone, Copy)]
pub enum Claim<'a> {
    /// An AccessKey id.
    AccessKeyId(&'a str),
    /// An AppCode, which is its own proof.
    AppCode(&'a str),
    /// An AppKey.
    AppKey(&'a str),
}

impl fmt::Debug for Claim<'_> {
    /// Without what is claimed: an AppCode is a secret, and whatever strangers send may be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Claim::AccessKeyId(_) => "AccessKeyId(…)",
            Claim::AppCode(_) => "AppCode(…)",
            Claim::AppKey(_) => "AppKey(…)",
        })
    }
}

/// What became of a nonce that a caller has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It came for the first time, and is known from now on.
    New,
    /// It came before.
    Seen,
    /// It cannot be known, because too many of this caller's are: whoever shows it is too fast.
    NoRoom,
}

/// Looks up credentials of callers: a simulator knows one, a drop-in edge many.
pub trait Keyring {
    /// The credential of the claimed caller, if there is one. Compares bearer secrets in constant time.
    fn find(&self, claim: Claim<'_>) -> Option<&Credential>;

    /// Whether the credential of the claimed caller was good once and has ended.
    fn has_ended(&self, _claim: Claim<'_>) -> bool {
        false
    }

    /// The last word about a caller whose signature is right: takes its `nonce`, which has to be known until `until`, when
    /// the signature's time is over. Only [`Taken::New`] is believed. Not asked about an AppCode, which signs nothing.
    ///
    /// To who has no memory each is new.
    fn take_nonce(&self, _claim: Claim<'_>, _nonce: &str, _until: Timestamp) -> Taken {
        Taken::New
    }

    /// Whether an AppCode counts in the query too, where other people's logs may keep it.
    fn takes_app_code_in_query(&self) -> bool {
        false
    }
}

impl Keyring for Arc<[Credential]> {
    fn find(&self, claim: Claim<'_>) -> Option<&Credential> {
        self.iter().find_map(|credential| credential.find(claim))
    }
}

impl Keyring for Credential {
    fn find(&self, claim: Claim<'_>) -> Option<&Credential> {
        let known = match (claim, self) {
            (Claim::AccessKeyId(claimed), Credential::AccessKey { id, .. }) => claimed == id,
            (Claim::AppCode(claimed), Credential::AppCode(secret)) => secret.matches(claimed.as_bytes()),
            (Claim::AppKey(claimed), Credential::AppKey { key, .. }) => claimed == key,
            _ => false,
        };
        known.then_some(self)
    }
}
