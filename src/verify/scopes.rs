//! Which questions about a person share their verdicts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::Scope;

/// Numbers the scopes of verdicts. Survives reloads, so that verdicts do.
#[derive(Debug, Default)]
pub(super) struct Scopes(Mutex<Numbered>);

#[derive(Debug, Default)]
struct Numbered {
    /// By policy and owner. They come from configurations, so they are few.
    known: HashMap<Arc<str>, HashMap<Arc<str>, Scope>>,
    last: u32,
}

impl Scopes {
    /// The scope of the verdicts that `owner` gets under the policy with the key `policy`. `owner` is empty if clients
    /// share verdicts, and the key of `[chain]` is.
    pub(super) fn of(&self, policy: &str, owner: &str) -> Scope {
        if policy.is_empty() && owner.is_empty() {
            return Scope::DEFAULT;
        }
        // The number is counted up before it is given, so a panic cannot give it twice.
        let mut numbered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = numbered.known.get(policy).and_then(|owners| owners.get(owner)) {
            return *scope;
        }
        numbered.last += 1;
        let scope = Scope::new(numbered.last);
        numbered.known.entry(Arc::from(policy)).or_default().insert(Arc::from(owner), scope);
        scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_and_owner_has_a_scope_of_its_own_and_keeps_it() {
        let scopes = Scopes::default();
        let words = ["", "a", "b", "ab"];
        let all = || words.iter().flat_map(|policy| words.iter().map(|owner| scopes.of(policy, owner))).collect();
        let first: Vec<_> = all();
        let distinct: std::collections::HashSet<_> = first.iter().copied().collect();
        assert_eq!((distinct.len(), first.first()), (16, Some(&Scope::DEFAULT)));
        assert_eq!(first, all());
    }
}
