//! The keys issued to callers, as the codec looks them up; records which one authenticated the request.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::config::Config;
use super::nonces::Nonces;
use crate::domain::clock::Moment;
use crate::providers::{Credential, CredentialStore, Presented, Taken};
use crate::server::auth::issued_keys::{Holder, IssuedKeys};

/// The callers' keys, for one request.
#[derive(Debug)]
pub(super) struct CallerKeys<'a> {
    keys: &'a IssuedKeys,
    nonces: &'a Nonces,
    config: Config,
    /// The time that signatures are compared with.
    wall: Timestamp,
    now: Moment,
    is_shared: bool,
    proven: Cell<Option<&'a Holder>>,
    /// Until the nonces of the caller's key have room, if they have none.
    wait: Cell<Option<Duration>>,
    taken: RefCell<Option<(Arc<str>, String, Timestamp)>>,
}

impl<'a> CallerKeys<'a> {
    pub(super) fn new(keys: &'a IssuedKeys, nonces: &'a Nonces, config: Config, wall: Timestamp, now: Moment) -> Self {
        Self {
            keys,
            nonces,
            config,
            wall,
            now,
            is_shared: false,
            proven: Cell::new(None),
            wait: Cell::new(None),
            taken: RefCell::default(),
        }
    }

    /// The key that the request was authenticated with. The result of the codec proves nothing: it may refuse an
    /// authenticated request, and accept one whose key it never looked up.
    pub(super) fn proven(&self) -> Option<&'a Holder> {
        self.proven.get()
    }

    /// How long the caller has to wait for room for its nonce.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait.get()
    }

    /// The key and the nonce that were taken, and until when; only where replicas share them.
    pub(super) fn taken(&self) -> Option<(Arc<str>, String, Timestamp)> {
        self.taken.take()
    }

    /// The nonces are those of several replicas.
    pub(super) fn sharing(self, is_shared: bool) -> Self {
        Self { is_shared, ..self }
    }

    /// The key that the request names; `None` if it has expired, unless the protocol has a code for that.
    fn presented(&self, presented: Presented<'_>) -> Option<&'a Holder> {
        let holder = self.keys.holder(presented)?;
        (presented.scheme().issued.tells_end || !holder.has_ended(self.now.at)).then_some(holder)
    }
}

impl CredentialStore for CallerKeys<'_> {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        let holder = self.presented(presented)?;
        if presented.scheme().is_bearer {
            self.proven.set(Some(holder));
        }
        Some(&holder.credential)
    }

    fn has_ended(&self, presented: Presented<'_>) -> bool {
        self.presented(presented).is_some_and(|holder| holder.has_ended(self.now.at))
    }

    fn authenticated(&self, presented: Presented<'_>) {
        self.proven.set(self.presented(presented));
    }

    fn take_nonce(&self, presented: Presented<'_>, nonce: &str, until: Timestamp) -> Taken {
        let Some(holder) = self.presented(presented) else { return Taken::Seen };
        let (now, most) = (self.now.monotonic, self.config.nonces_per_key);
        let taken = self.nonces.take(&holder.id, nonce, (until, self.wall), now, most);
        match taken {
            Taken::New => {
                self.proven.set(Some(holder));
                if self.is_shared {
                    self.taken.replace(Some((Arc::clone(&holder.id), nonce.to_owned(), until)));
                }
            }
            Taken::NoRoom => self.wait.set(Some(self.nonces.room_in(&holder.id, now))),
            Taken::Seen => {}
        }
        taken
    }

    fn takes_secrets_from_url(&self) -> bool {
        self.config.appcode_in_query
    }
}
