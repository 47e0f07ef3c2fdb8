//! # idgate, the map
//!
//! One question, *do this name and this Chinese ID number belong together?*, asked of a chain of
//! paid providers. The modules and their one direction (`tests/it/layering.rs` guards it):
//!
//! ```text
//!  main > app > server > verify > { providers, storage } > domain
//!                               > resilience              (knows nobody)
//! ```
//!
//! | module | why it exists | may use |
//! | --- | --- | --- |
//! | [`domain`] | the words: names, numbers, verdicts, outcomes, money. Pure, no I/O, no serde | nothing of ours |
//! | [`resilience`] | breaker, bulkhead, limiter, flight, budget. Knows nothing about identity | nothing of ours |
//! | [`providers`] | one folder per upstream: its protocol as pure functions over bytes | `domain` |
//! | [`storage`] | what outlives a request | `domain` |
//! | [`verify`] | the product: question in, verdict out | the four above |
//! | [`server`] | the edges: bytes in, bytes out | everything but `resilience` and `app` |
//! | [`app`] | configuration, assembly, life cycle, commands: the only one that knows everyone | everything |
//!
//! What is deliberately absent: a `util`, a crate-wide error or metrics module, a global, a retry
//! layer, and any call to a provider that no question asked for.

pub mod app;
pub mod domain;
pub mod providers;
pub mod resilience;
pub mod server;
pub mod storage;
pub mod verify;
