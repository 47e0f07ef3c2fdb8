//! Where a verdict is cached.

use crate::domain::subject::Digest;

/// Whose verdicts these are: those of one policy, and of one client or of all. Verdicts of different scopes are never
/// mixed up; [`Scope::DEFAULT`] is that of the policy `[chain]` for all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(u32);

/// Everything that can change the answer to a question: who it is about, and its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey {
    pub person: Digest,
    pub scope: Scope,
}

impl Scope {
    pub const DEFAULT: Self = Self(0);

    /// The scope with this number. Whoever gives the numbers must give each once.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}
