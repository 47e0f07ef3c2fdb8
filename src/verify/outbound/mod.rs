//! The way out: HTTP clients, name resolution, and which certificates they trust.

pub mod client;
pub mod dns;
pub mod pin;
pub mod settings;
pub mod trust;
