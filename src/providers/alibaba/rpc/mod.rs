//! The RPC gateway, for one action. A driver is an [`Action`], its table of codes and its settings.
//!
//! Invariant: all differences between actions are data in [`Action`]; this module names no action.
//! To add one: a driver folder with an `Action` and a `Driver`, whose `configure` calls [`configure`].

mod action;
mod client;
pub(super) mod gate;
mod reply;
mod server;
mod settings;
mod wire;

pub(super) use self::action::FORM;
pub use self::action::{Action, ObjectName, Placement, XML};
pub use self::gate::addressed;
pub use self::server::Server;
pub use self::settings::configure;
pub use super::credentials::{PLACES, VARIABLES};
pub use super::seal::WINDOW as CLOCK_WINDOW;

pub const SCHEMES: &[&crate::providers::Scheme] = &[&super::schemes::ACCESS_KEY];
