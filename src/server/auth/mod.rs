//! Authentication and authorization: clients and operators, their keys and certificates, rights and rates.

pub mod browsers;
pub mod callers;
pub mod certificates;
pub mod client;
pub mod client_config;
pub mod expiry;
pub mod issued_keys;
pub mod key_config;
pub mod operator_gate;
pub mod operators;
pub(in crate::server) mod rate;
pub mod rights;
pub mod roles;
pub mod sessions;
