//! What a question is about, among the replicas.

use crate::domain::subject::Digest;

/// A person, and whose verdicts about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub person: Digest,
    pub scope: [u8; 8],
}
