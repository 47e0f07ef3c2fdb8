//! Which issued key the head of a request names, before its body is read.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;

use super::config::Config;
use crate::providers::dialect::Dialect;
use crate::providers::{Credential, CredentialStore, Presented, Stamp};
use crate::server::auth::issued_keys::IssuedKeys;

/// Finds nothing, but remembers the key that was looked for, if there is one that has not expired.
struct Named<'a> {
    keys: &'a IssuedKeys,
    config: Config,
    stamp: &'a Stamp,
    found: RefCell<Option<Arc<str>>>,
}

impl CredentialStore for Named<'_> {
    fn find(&self, presented: Presented<'_>) -> Option<&Credential> {
        let holder = self.keys.holder(presented).filter(|holder| !holder.has_ended(self.stamp.now))?;
        *self.found.borrow_mut() = Some(Arc::clone(&holder.id));
        // The codec stops here. Nothing is proven before the body has been read.
        None
    }

    fn takes_secrets_from_url(&self) -> bool {
        self.config.appcode_in_query
    }
}

/// The id of the issued key that `head` names; `None` for an unknown one, and where only the body would name it.
pub(super) fn named_key(
    dialect: &Dialect,
    head: &Request<Bytes>,
    keys: &IssuedKeys,
    config: Config,
    stamp: &Stamp,
) -> Option<Arc<str>> {
    let named = Named { keys, config, stamp, found: RefCell::default() };
    let _ = dialect.service.decode_request(head, &named, stamp);
    named.found.into_inner()
}
