//! Every provider's own protocol for our callers, answered by our verifier: a caller with code for a provider keeps it and
//! changes only the endpoint and the key.
//!
//! One generic piece over the codec: find the driver that a request is meant for, decode it and check its signature, ask
//! as any other question is asked, encode the answer. It knows no provider by name. Invariants: what is answered here is
//! in the words of the protocol, never a problem document; a question takes the same steps as one to our own API (see
//! [`pipeline`](super::pipeline)); a signed request is answered once.
//!
//! To add a provider: nothing, its [`Dialect`](crate::providers::dialect::Dialect) is enough.

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
