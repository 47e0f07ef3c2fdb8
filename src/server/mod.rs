//! The edges: bytes in, bytes out. [`routes`] shows every route of both listeners.
//!
//! | edge | listener | what |
//! | --- | --- | --- |
//! | [`api`] | public | `POST /v1/verify` |
//! | [`compat`] | public | every provider's own protocol, answered by our verifier; off by default |
//! | [`records`] | both | look-ups, receipts, their keys; persons forgotten |
//! | [`admin`] | admin | live, ready, metrics, status, isolate and restore; [`reload`]; the API's page |
//! | [`sandbox`] | loopback | every provider's own protocol, answered by a scenario |
//!
//! No edge imports another. Below them, each importing only what stands before it: [`http`] and [`auth`], [`snapshot`],
//! [`pipeline`] (what every question goes through), [`idempotency`].
//!
//! Invariants: whatever comes in through a socket is bounded here, in time, size and number, before it is processed; a
//! request has one owner, its `RequestScope`, which logs and counts it however it ends. To add an edge: a folder with
//! its handlers, and its lines in [`routes`].

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
