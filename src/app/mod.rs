//! The only module that knows all others: configuration, assembly, life cycle, commands.

mod clock_watch;
pub mod commands;
pub mod config;
mod descriptors;
mod file_reader;
mod gateway;
pub mod lifecycle;
mod memory;
mod reconcile;
mod record_follower;
mod reload;
pub mod simulated;
mod snapshot;
mod stack_wiper;
pub mod telemetry;
mod traces;

use gateway::bind_admin;
pub use gateway::{Books, Gateway, StartError, World, ledger};
