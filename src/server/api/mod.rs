//! `POST /v1/verify`: request → pipeline → response, with idempotency keys.
//!
//! The order is the contract: shed, authenticate, limit, parse, check locally (free), then ask. Whatever happens, the
//! answer is JSON of ours, and the request is logged and counted once. To add a member or a header: `http::body_reader`
//! or `http::headers`, then `openapi.yaml` (`idgate openapi` writes it).

pub mod handler;
mod idempotent;
pub mod reply;
mod request_headers;
mod state;

pub use handler::ask_locally;
pub use state::Verify;

pub(in crate::server) const ROUTE: &str = "/v1/verify";
