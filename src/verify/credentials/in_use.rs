//! The credential in use. A call keeps the one that it began with.

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
    /// When it is time to fetch the next, in Unix seconds; [`i64::MAX`] if it has no end.
    pub(super) due: AtomicI64,
    /// Whether it was fetched and no call has begun with it, as far as is known.
    pub(super) is_fresh: AtomicBool,
    /// Counts up with each credential that comes into use.
    pub(super) generation: IntGauge,
}

/// The credential in use, as one call holds it.
#[derive(Debug)]
pub(in crate::verify) struct Held {
    pub(in crate::verify) credential: Credential,
    /// When it ends, if it does.
    pub(super) ends: Option<Timestamp>,
    /// The source that gave it, if it was fetched.
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

    /// How long until it is time to fetch the next.
    pub(super) fn due_in(&self, now: Timestamp) -> Duration {
        match self.due.load(Ordering::Relaxed) {
            i64::MAX => Duration::MAX,
            due => Duration::from_secs(u64::try_from(due.saturating_sub(now.as_second())).unwrap_or_default()),
        }
    }

    /// Puts a fetched credential into use. The same one again is not a new one.
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
