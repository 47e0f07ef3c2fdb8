//! Which answers are looked for, as it is kept until they are shown. A person is there as a keyed digest.

use uuid::Uuid;

use crate::storage::ledger::Wanted;

/// A search.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    pub(super) wanted: Wanted,
    pub(super) purpose: Option<String>,
    /// A verification id, which ends the search.
    pub(super) id: Option<Uuid>,
}

/// What a form asks for, or what is wrong with it.
pub(super) type Sought = Result<Search, String>;

impl Search {
    /// For the answer with this id.
    pub(super) fn for_one(id: Uuid) -> Self {
        Self { id: Some(id), ..Self::default() }
    }
}
