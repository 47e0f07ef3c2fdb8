//! The credentials that sign a provider's calls: given by the configuration, or fetched and kept fresh.

mod fetcher;
mod in_use;
mod keeper;
mod store;

pub(super) use self::fetcher::Fetcher;
pub(super) use self::store::{CredentialStore, Given, is_about_the_key};
