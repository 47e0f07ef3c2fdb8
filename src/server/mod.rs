//! The HTTP edges. [`routes`] lists every route of both listeners.
//!
//! | edge | listener | what |
//! | --- | --- | --- |
//! | [`api`] | public | `POST /v1/verify` |
//! | [`compat`] | public | every provider's own protocol, answered by our verifier; off by default |
//! | [`records`] | both | lookups, receipts and their keys; forgetting a person |
//! | [`admin`] | admin | liveness, readiness, metrics, status, isolate and restore; [`reload`]; the API documentation |
//! | [`console`] | admin | the web pages for operators; off by default |
//! | [`sandbox`] | loopback | every provider's own protocol, answered by a simulator |
//!
//! No edge imports another. They share these modules, each of which imports only those before it: [`log_level`],
//! [`http`] and [`auth`], `index`, [`snapshot`], [`pipeline`] (the steps that every question goes through), [`idempotency`].
//!
//! Invariants: all input from a socket is limited in time, size and number before it is processed; a request has one
//! owner, its `RequestScope`, which logs and counts it however it ends. To add an edge, add a folder with its handlers,
//! and its lines in [`routes`].

pub mod admin;
pub mod api;
mod audit;
pub mod auth;
pub mod compat;
pub mod console;
pub mod http;
pub mod idempotency;
mod index;
pub mod listener;
pub mod log_level;
pub mod openapi;
pub mod pipeline;
pub mod records;
pub mod reload;
pub mod routes;
pub mod sandbox;
pub mod snapshot;
