//! Every provider's own protocol for our callers, answered by our verifier: a caller with code for a provider keeps it
//! and changes only the endpoint and the key.
//!
//! For each request: find the driver it is addressed to, decode it and verify its signature, ask, encode the answer. No
//! provider is known by name here. Invariants: answers are in the protocol's own codes, never a problem document; a
//! question takes the same steps as one to our own API (see [`pipeline`](super::pipeline)); a signed request is
//! accepted once.
//!
//! A new provider needs nothing here but its [`Dialect`](crate::providers::dialect::Dialect).

mod call;
mod caller_keys;
mod config;
mod edge;
mod handler;
mod nonces;
mod words;

pub use self::config::Config;
pub use self::edge::{Edge, EdgeError};
pub(in crate::server) use self::handler::answer;
pub use self::words::{cause, refusal};
