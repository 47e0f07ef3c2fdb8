//! The edges: bytes in, bytes out.
//!
//! | edge | listener | what |
//! | --- | --- | --- |
//! | [`api`] | public | `POST /v1/verify` |
//! | [`compat`] | public | every provider's own protocol, answered by our verifier; off unless it is switched on |
//! | [`admin`] | admin | alive, ready, metrics, status, isolate and restore, reload, forget, the API's page; for [`operator`]s |
//! | [`sandbox`] | loopback | every provider's own protocol, answered by a scenario |
//!
//! Invariant: whatever comes in through a socket is bounded here, in time, size and number, before anything else
//! sees it. To add an edge: a folder with its own router, served by [`listener::Listener`].

pub mod admin;
pub mod api;
mod audit;
pub mod auth;
pub mod compat;
pub mod http;
pub mod idempotency;
pub mod listener;
pub mod openapi;
pub mod pipeline;
pub mod records;
pub mod reload;
pub mod routes;
pub mod sandbox;
pub mod snapshot;
