//! The credential in use. A call keeps the one that it started with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use prometheus::IntGauge;

use crate::providers::Credential;
use crate::providers::source::Granted;

/// The credential in use; none before the first fetch.
#[derive(Debug)]
pub(super) struct InUse {
    pub(super) held: ArcSwapOption<Held>,
    /// When to fetch the next one, in Unix seconds; [`i64::MAX`] if it does not expire.
    pub(super) due: AtomicI64,
    /// Set when a fetch brings a new credential; cleared by `CredentialStore::came_anew`.
    pub(super) is_fresh: AtomicBool,
    /// Incremented each time a different credential comes into use.
    pub(super) generation: IntGauge,
}

/// A credential, as held by a call.
#[derive(Debug)]
pub(in crate::verify) struct Held {
    pub(in crate::verify) credential: Credential,
    /// When it expires, if it does.
    pub(super) ends: Option<Timestamp>,
    /// The source, if it was fetched.
    pub(super) from: Option<&'static str>,
}

impl Held {
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| ends > now)
    }
}

impl InUse {
    pub(super) fn load(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    pub(super) fn put(&self, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        self.held.store(Some(Arc::clone(&held)));
        self.generation.inc();
        held
    }

    /// The time until the next fetch.
    pub(super) fn due_in(&self, now: Timestamp) -> Duration {
        match self.due.load(Ordering::Relaxed) {
            i64::MAX => Duration::MAX,
            due => Duration::from_secs(u64::try_from(due.saturating_sub(now.as_second())).unwrap_or_default()),
        }
    }

    /// Puts a fetched credential into use. If it is the same one again, only `due` changes.
    pub(super) fn take(&self, granted: Granted, due: Option<Timestamp>) {
        let Granted { credential, ends, from } = granted;
        let is_same =
            |held: &Arc<Held>| held.credential.is(&credential) && held.ends == ends && held.from == Some(from);
        if !self.load().as_ref().is_some_and(is_same) {
            self.put(Held { credential, ends, from: Some(from) });
            self.is_fresh.store(true, Ordering::Release);
        }
        self.due.store(due.map_or(i64::MAX, Timestamp::as_second), Ordering::Relaxed);
    }
}
