//! Sections that need more than their own `Config`: files to read, secrets, or other sections to agree with.

pub(super) mod checks;
pub(super) mod issued;
pub(super) mod ledger;
pub(super) mod money;
pub(super) mod outbound;
pub(super) mod provider;
pub(super) mod provider_section;
pub(super) mod quotes;
pub(super) mod receipts;
pub(super) mod replica;
pub(super) mod secret;
pub(super) mod shared;
pub(super) mod tls;
pub(super) mod traces;
