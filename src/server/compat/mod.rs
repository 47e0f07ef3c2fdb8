//! Serves every provider's own protocol: a caller with existing code for a provider keeps it and changes only the
//! endpoint and the key.
//!
//! Each request is routed to the driver it is addressed to, decoded and authenticated, answered by our verifier, and
//! the answer is encoded again. No provider is known by name here. Invariants: responses use the protocol's own codes,
//! never a problem document; a question takes the same steps as in our own API (see [`pipeline`](super::pipeline)); a
//! signed request is accepted only once.
//!
//! A new provider needs nothing here but its [`Dialect`](crate::providers::dialect::Dialect).

mod call;
mod caller_keys;
mod config;
mod edge;
mod handler;
mod named_key;
mod nonces;
mod words;

pub use self::config::Config;
pub use self::edge::{Edge, EdgeError};
pub(in crate::server) use self::handler::answer;
pub use self::words::{cause, refusal};
