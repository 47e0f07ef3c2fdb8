//! The keys that are issued, as the codec asks for them, and which of them a request has proven to have.

use std::cell::Cell;

use jiff::Timestamp;

use super::Config;
use super::nonces::Nonces;
use crate::providers::{Claim, Credential, Keyring, Taken};
use crate::server::auth::issued_keys::{Holder, IssuedKeys};

/// The key ring for one request.
#[derive(Debug)]
pub(super) struct Ring<'a> {
    keys: &'a IssuedKeys,
    nonces: &'a Nonces,
    config: Config,
    now: Timestamp,
    proven: Cell<Option<&'a Holder>>,
}

impl<'a> Ring<'a> {
    pub(super) fn new(keys: &'a IssuedKeys, nonces: &'a Nonces, config: Config, now: Timestamp) -> Self {
        Self { keys, nonces, config, now, proven: Cell::new(None) }
    }

    /// The key that the request was really made with. Nothing else the codec says is proof of that: it may refuse what it
    /// believes, and answer what it has not looked at.
    pub(super) fn proven(&self) -> Option<&'a Holder> {
        self.proven.get()
    }

    /// The key that is claimed; nothing if it has ended, unless the protocol has a word for that.
    fn claimed(&self, claim: Claim<'_>) -> Option<&'a Holder> {
        let holder = self.keys.holder(claim)?;
        let is_told = matches!(claim, Claim::AccessKeyId(_));
        (is_told || !holder.has_ended(self.now)).then_some(holder)
    }
}

impl Keyring for Ring<'_> {
    fn find(&self, claim: Claim<'_>) -> Option<&Credential> {
        let holder = self.claimed(claim)?;
        if let Claim::AppCode(_) = claim {
            self.proven.set(Some(holder));
        }
        Some(&holder.credential)
    }

    fn has_ended(&self, claim: Claim<'_>) -> bool {
        self.claimed(claim).is_some_and(|holder| holder.has_ended(self.now))
    }

    fn take_nonce(&self, claim: Claim<'_>, nonce: &str, until: Timestamp) -> Taken {
        let Some(holder) = self.claimed(claim) else { return Taken::Seen };
        let taken = self.nonces.take(&holder.id, nonce, until, self.now, self.config.nonces_per_key);
        if taken == Taken::New {
            self.proven.set(Some(holder));
        }
        taken
    }

    fn takes_app_code_in_query(&self) -> bool {
        self.config.appcode_in_query
    }
}
