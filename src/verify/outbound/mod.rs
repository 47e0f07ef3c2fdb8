//! Outbound connections: HTTP clients, name resolution and certificate trust.

pub mod client;
mod connect;
pub mod dns;
mod exhaustion;
pub mod pin;
pub mod pool;
pub mod settings;
pub mod trust;
