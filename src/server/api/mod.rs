//! `POST /v1/verify`: request → pipeline → response, with idempotency keys.
//!
//! The order is part of the contract: shed load, authenticate, apply the rate limit, parse, check locally (free), then
//! ask. Every request gets a JSON answer in our own format, and is logged and counted exactly once. To read another
//! member or request header, change `http::body_reader` or `http::headers`, then regenerate `openapi.yaml` with
//! `idgate openapi`.

pub mod handler;
mod idempotent;
pub mod reply;
mod request_headers;
mod state;

pub use handler::ask_locally;
pub(in crate::server) use state::ROUTE;
pub use state::Verify;
