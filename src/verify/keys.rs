//! The credential that a provider's calls are signed with, and what is done when the provider does not know it.
//!
//! Two may be given, `current` and `next`, so that a key can be replaced without a moment at which none is good: when the
//! one in use is refused *as a key* the other takes its place, and the call that was refused, which nobody bills, is sent
//! once more. Arrears, a used-up package and a missing permission belong to the account, not to the key: they change
//! nothing here.
//!
//! Invariants: a call keeps the credential that it began with; of many calls in flight that are refused the first one
//! changes the credential, the others find it changed; [`Keys`] outlives a reload, which only puts other credentials in.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use prometheus::IntGauge;

use crate::domain::outcome::{Fault, Outcome, Reason};
use crate::providers::{Access, Credential};

/// The credentials of one provider.
#[derive(Debug)]
pub(super) struct Keys {
    provider: Arc<str>,
    in_use: ArcSwap<Held>,
    spare: Mutex<Option<Credential>>,
    /// Counts up with each credential that comes into use.
    generation: IntGauge,
}

/// The credential in use, as one call holds it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) credential: Credential,
}

/// What the configuration gives: the credential, and the one that follows it.
#[derive(Debug, Clone)]
pub(super) struct Given {
    current: Credential,
    next: Option<Credential>,
}

impl Given {
    pub(super) fn new(access: &Access, next: Option<&Credential>) -> Self {
        let Access::Given(current) = access;
        Self { current: current.clone(), next: next.cloned() }
    }
}

/// Whether `fault` says that the key itself is not known, or not any more.
pub(super) fn is_about_the_key(fault: &Fault) -> bool {
    fault.outcome == Outcome::AccountFault && matches!(fault.reason, Reason::KeyRefused | Reason::SignatureRefused)
}

impl Keys {
    pub(super) fn new(provider: Arc<str>, given: Given, generation: IntGauge) -> Self {
        generation.inc();
        let in_use = ArcSwap::from_pointee(Held { credential: given.current });
        Self { provider, in_use, spare: Mutex::new(given.next), generation }
    }

    /// The credential to begin a call with.
    pub(super) fn held(&self) -> Arc<Held> {
        self.in_use.load_full()
    }

    /// Another credential for a call whose own was refused, if there is one that it has not been refused with.
    pub(super) fn instead_of(&self, refused: &Arc<Held>) -> Option<Arc<Held>> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = self.in_use.load_full();
        if !Arc::ptr_eq(&in_use, refused) {
            // Somebody was quicker.
            return Some(in_use);
        }
        let other = spare.replace(refused.credential.clone());
        let Some(other) = other else {
            *spare = None;
            return None;
        };
        tracing::warn!(provider = &*self.provider, "the key in use was refused; the other one is used from now on");
        Some(self.put(other))
    }

    /// Puts other credentials in, after a reload. True if the one in use is another than before.
    pub(super) fn replace(&self, given: Given) -> bool {
        let Given { current, next } = given;
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = self.in_use.load_full();
        // Whichever of the two is at work stays at work: it is the one that is not refused.
        if in_use.credential.is(&current) {
            *spare = next;
            return false;
        }
        if next.as_ref().is_some_and(|next| in_use.credential.is(next))
            && spare.as_ref().is_some_and(|one| one.is(&current))
        {
            return false;
        }
        *spare = next;
        self.put(current);
        true
    }

    fn put(&self, credential: Credential) -> Arc<Held> {
        let held = Arc::new(Held { credential });
        self.in_use.store(Arc::clone(&held));
        self.generation.inc();
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::personal::Secret;

    fn code(text: &str) -> Credential {
        Credential::AppCode(Secret::new(text))
    }

    fn keys(current: &str, next: Option<&str>) -> Keys {
        Keys::new(Arc::from("p"), given(current, next), IntGauge::new("generation", "help").unwrap())
    }

    fn given(current: &str, next: Option<&str>) -> Given {
        Given { current: code(current), next: next.map(code) }
    }

    #[test]
    fn the_other_key_takes_the_place_of_a_refused_one_once_for_all_calls_in_flight() {
        let keys = keys("a", Some("b"));
        let (one, other) = (keys.held(), keys.held());
        let instead = keys.instead_of(&one).unwrap();
        assert!(instead.credential.is(&code("b")));
        assert!(Arc::ptr_eq(&keys.instead_of(&other).unwrap(), &instead), "the second call finds it changed");
        assert_eq!(keys.generation.get(), 2);
        // And back again, should the new one be refused and the old one be mended.
        assert!(keys.instead_of(&instead).unwrap().credential.is(&code("a")));
    }

    #[test]
    fn a_single_key_has_nothing_instead() {
        let keys = keys("a", None);
        assert!(keys.instead_of(&keys.held()).is_none() && keys.instead_of(&keys.held()).is_none());
        assert_eq!(keys.generation.get(), 1);
    }

    #[test]
    fn a_reload_keeps_the_key_at_work_and_puts_a_new_one_in() {
        let keys = keys("a", Some("b"));
        assert!(!keys.replace(given("a", Some("c"))), "only the spare one is new");
        keys.instead_of(&keys.held());
        assert!(keys.held().credential.is(&code("c")));
        assert!(!keys.replace(given("a", Some("c"))), "the same again does not bring the refused one back");
        assert!(keys.held().credential.is(&code("c")));
        assert!(!keys.replace(given("c", None)), "it has become the first");
        assert!(keys.replace(given("d", None)) && keys.held().credential.is(&code("d")));
        assert_eq!(keys.generation.get(), 3);
    }
}
