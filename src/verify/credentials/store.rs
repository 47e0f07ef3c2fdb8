//! The credential that signs a provider's calls, and what happens when the provider refuses it.
//!
//! The configuration may give two, `current` and `next`, so that a key can be rotated without downtime: when the
//! provider refuses the one in use *as a key*, the other replaces it, and the refused call is sent again. No provider
//! bills a refused call. Arrears, a used-up package or a missing permission concern the account, not the key, and
//! change nothing here.
//!
//! Or the credential is fetched ([`Keeper`]): then a refusal triggers one more fetch, and a call may find none.
//!
//! Invariants: a call keeps the credential that it started with. If many calls in flight are refused, the first one
//! changes the credential and the others find it changed. [`CredentialStore`] survives a reload, which only replaces
//! the credentials in it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::fetcher::Fetcher;
use super::in_use::{Held, InUse};
use super::keeper::Keeper;
use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::source::Source;
use crate::providers::{Access, Credential};
use crate::verify::metrics::Metrics;
use crate::verify::status::{AccountStatus, CredentialStatus};

/// The credentials of one provider.
#[derive(Debug)]
pub(in crate::verify) struct CredentialStore {
    provider: Arc<str>,
    in_use: Arc<InUse>,
    behind: Mutex<Behind>,
    metrics: Metrics,
}

/// Where the next credential comes from.
#[derive(Debug)]
enum Behind {
    /// The other one of a pair, if there are two.
    Spare(Option<Credential>),
    /// The task that fetches the next one.
    Keeper(Arc<Keeper>),
}

/// The credentials, as configured.
#[derive(Debug, Clone)]
pub(in crate::verify) enum Given {
    Pair {
        current: Credential,
        next: Option<Credential>,
    },
    Fetched {
        source: Arc<dyn Source>,
        fetcher: Arc<Fetcher>,
    },
    /// A source without a fetcher. Only a bug leads here.
    Nothing,
}

impl Given {
    pub(in crate::verify) fn new(access: &Access, next: Option<&Credential>, fetcher: Option<&Arc<Fetcher>>) -> Self {
        match (access, fetcher) {
            (Access::Given(current), _) => Self::Pair { current: current.clone(), next: next.cloned() },
            (Access::Fetched(source), Some(fetcher)) => {
                Self::Fetched { source: Arc::clone(source), fetcher: Arc::clone(fetcher) }
            }
            (Access::Fetched(_), None) => Self::Nothing,
        }
    }
}

/// Whether the provider refused the key itself, because it does not know it or no longer accepts it.
pub(in crate::verify) fn is_about_the_key(fault: &Fault) -> bool {
    fault.outcome == Outcome::AccountFault && matches!(fault.reason, Reason::KeyRefused | Reason::SignatureRefused)
}

impl CredentialStore {
    /// Creates the store. If the credential has to be fetched, this starts a task and needs a Tokio runtime.
    pub(in crate::verify) fn new(provider: Arc<str>, given: Given, metrics: &Metrics) -> Self {
        let generation = metrics.credential_generation(&provider);
        let in_use = Arc::new(InUse {
            held: ArcSwapOption::empty(),
            due: AtomicI64::new(i64::MAX),
            is_fresh: AtomicBool::new(false),
            generation,
        });
        let behind = Mutex::new(Behind::Spare(None));
        let keys = Self { provider, in_use, behind, metrics: metrics.clone() };
        keys.replace(given);
        keys
    }

    /// The credential for a new call. If there is none yet, waits up to `patience` for the fetch in flight.
    pub(in crate::verify) async fn held(&self, patience: Duration) -> Option<Arc<Held>> {
        match self.in_use.load() {
            Some(held) if held.ends.is_none() => Some(held),
            _ => self.keeper()?.held(patience).await,
        }
    }

    /// A credential other than `refused`, for a call that was refused, if there is one.
    pub(in crate::verify) async fn instead_of(&self, refused: &Arc<Held>, patience: Duration) -> Option<Arc<Held>> {
        match self.keeper() {
            Some(keeper) => {
                let other = keeper.instead_of(refused, patience).await;
                // The call that is sent again shows whether the new credential works, so it must not end a later
                // suspension.
                self.came_anew();
                other
            }
            None => self.spare_instead_of(refused),
        }
    }

    /// Whether a new credential was fetched since the last check: earlier faults then say nothing about it.
    pub(in crate::verify) fn came_anew(&self) -> bool {
        self.in_use.is_fresh.load(Ordering::Acquire) && self.in_use.is_fresh.swap(false, Ordering::AcqRel)
    }

    fn spare_instead_of(&self, refused: &Arc<Held>) -> Option<Arc<Held>> {
        let mut behind = self.behind();
        let in_use = self.in_use.load()?;
        if !Arc::ptr_eq(&in_use, refused) {
            // Another call has already changed it.
            return Some(in_use);
        }
        let Behind::Spare(spare) = &mut *behind else { return None };
        let other = spare.take()?;
        *spare = Some(refused.credential.clone());
        tracing::warn!(provider = &*self.provider, "the key in use was refused; the other one is used from now on");
        Some(self.put(other))
    }

    /// Replaces the credentials after a reload. True if the one in use has changed, or will after the first fetch.
    ///
    /// An unchanged source keeps its task. With a new source, the credential in use stays until the first fetch
    /// succeeds.
    pub(in crate::verify) fn replace(&self, given: Given) -> bool {
        let mut behind = self.behind();
        let (current, next) = match given {
            Given::Nothing => return false,
            Given::Fetched { source, fetcher } => {
                match &*behind {
                    Behind::Keeper(keeper) if keeper.is_for(&*source, &fetcher) => return false,
                    Behind::Keeper(keeper) => keeper.retire(),
                    Behind::Spare(_) => {}
                }
                let meter = self.metrics.credential(&self.provider);
                let keeper =
                    Keeper::start(Arc::clone(&self.provider), source, Arc::clone(&self.in_use), fetcher, meter);
                *behind = Behind::Keeper(Arc::new(keeper));
                return true;
            }
            Given::Pair { current, next } => (current, next),
        };
        // A fetched credential is not one of a pair, so it does not tell which of the two works.
        let in_use = self.in_use.load();
        let before = match std::mem::replace(&mut *behind, Behind::Spare(next.clone())) {
            Behind::Spare(spare) => in_use.map(|held| (held, spare)),
            Behind::Keeper(keeper) => {
                keeper.retire();
                self.metrics.credential_given(&self.provider);
                None
            }
        };
        if let Some((in_use, spare)) = before {
            // Keep whichever of the two is in use: it is the one that was not refused.
            if in_use.credential.is(&current) {
                return false;
            }
            if next.as_ref().is_some_and(|next| in_use.credential.is(next))
                && spare.as_ref().is_some_and(|one| one.is(&current))
            {
                *behind = Behind::Spare(spare);
                return false;
            }
        }
        self.put(current);
        true
    }

    /// Fetches at once. Does nothing if the configuration gives the credential.
    pub(in crate::verify) fn fetch_now(&self) {
        if let Some(keeper) = self.keeper() {
            keeper.fetch_now();
        }
    }

    /// Set if there is no credential for a new call.
    pub(in crate::verify) fn lack(&self, now: Instant) -> Option<AccountStatus> {
        self.keeper()?.lack(now)
    }

    /// The status of a fetched credential; `None` if the configuration gives it.
    pub(in crate::verify) fn status(&self) -> Option<CredentialStatus> {
        self.keeper().map(|keeper| keeper.status())
    }

    fn keeper(&self) -> Option<Arc<Keeper>> {
        match &*self.behind() {
            Behind::Keeper(keeper) => Some(Arc::clone(keeper)),
            Behind::Spare(_) => None,
        }
    }

    fn behind(&self) -> std::sync::MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, credential: Credential) -> Arc<Held> {
        self.in_use.put(Held { credential, ends: None, from: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::personal::Secret;
    use crate::providers::{Issued, Scheme};

    static BEARER: Scheme = Scheme {
        name: "test-bearer",
        title: "",
        fields: &[],
        is_bearer: true,
        issued: Issued { list: "", id: "", noun: "", id_label: "", secret_label: "", tells_end: false },
    };

    fn code(text: &str) -> Credential {
        Credential::bearer(&BEARER, Secret::new(text))
    }

    fn keys(current: &str, next: Option<&str>) -> CredentialStore {
        CredentialStore::new(
            Arc::from("p"),
            given(current, next),
            &Metrics::register(&prometheus::Registry::new()).unwrap(),
        )
    }

    fn given(current: &str, next: Option<&str>) -> Given {
        Given::Pair { current: code(current), next: next.map(code) }
    }

    fn held(keys: &CredentialStore) -> Arc<Held> {
        keys.in_use.load().unwrap()
    }

    #[test]
    fn the_other_key_takes_the_place_of_a_refused_one_once_for_all_calls_in_flight() {
        let keys = keys("a", Some("b"));
        let (one, other) = (held(&keys), held(&keys));
        let instead = keys.spare_instead_of(&one).unwrap();
        assert!(instead.credential.is(&code("b")));
        assert!(Arc::ptr_eq(&keys.spare_instead_of(&other).unwrap(), &instead), "the second call finds it changed");
        assert_eq!(keys.in_use.generation.get(), 2);
        // Switches back if the new key is refused later.
        assert!(keys.spare_instead_of(&instead).unwrap().credential.is(&code("a")));
    }

    #[test]
    fn a_single_key_has_nothing_instead() {
        let keys = keys("a", None);
        assert!(keys.spare_instead_of(&held(&keys)).is_none() && keys.spare_instead_of(&held(&keys)).is_none());
        assert_eq!(keys.in_use.generation.get(), 1);
    }

    #[test]
    fn a_reload_keeps_the_key_at_work_and_puts_a_new_one_in() {
        let keys = keys("a", Some("b"));
        assert!(!keys.replace(given("a", Some("c"))), "only the spare one is new");
        keys.spare_instead_of(&held(&keys));
        assert!(held(&keys).credential.is(&code("c")));
        assert!(!keys.replace(given("a", Some("c"))), "the same again does not bring the refused one back");
        assert!(held(&keys).credential.is(&code("c")));
        assert!(!keys.replace(given("c", None)), "it has become the first");
        assert!(keys.replace(given("d", None)) && held(&keys).credential.is(&code("d")));
        assert_eq!(keys.in_use.generation.get(), 3);
    }
}
