//! The admin listener's own routes: health, metrics, status, isolating and restoring providers, reload.
//!
//! Nothing here ever calls a provider. Every route needs an operator, except those in [`OPEN`](super::auth::operators::OPEN); a
//! handler that changes something takes the `Extension<Arc<Operator>>` and logs its name.

pub(super) mod health;
pub(super) mod providers;
pub(super) mod reload;
mod state;
pub(super) mod status;

pub use state::Admin;
