//! Outbound connections: HTTP clients, name resolution and certificate trust.

pub mod client;
pub mod dns;
mod exhaustion;
pub mod pin;
pub mod settings;
pub mod trust;
