//! The routes that only the admin listener has: health, metrics, status, isolating and restoring providers, reload,
//! the level of the log, and what operators did.
//!
//! Nothing here calls a provider. Every route requires an operator, except those in
//! [`OPEN`](super::auth::operators::OPEN). A handler that changes something takes the `Extension<Arc<Operator>>` and
//! logs its name.

pub(super) mod changes;
pub(super) mod health;
pub(super) mod log_level;
pub(super) mod providers;
pub(super) mod reload;
mod state;
pub(super) mod status;

pub use health::starting;
pub use state::Admin;
