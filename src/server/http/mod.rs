//! HTTP building blocks shared by all endpoints. Depends on no handler.

pub mod access_log;
pub mod attempt;
pub mod body;
pub mod body_reader;
pub mod body_room;
pub mod code;
mod header_text;
pub mod headers;
pub mod line_sink;
pub mod metrics;
pub mod minutes;
pub(in crate::server) mod operation_body;
pub mod page_headers;
pub mod problem;
pub mod rate_limit;
pub mod recorder;
pub mod request_scope;
pub mod sampler;
pub mod schema;
pub(in crate::server) mod timestamp;
pub mod trace;
pub mod unambiguous;
