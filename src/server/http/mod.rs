//! What every edge needs to read a request and to write an answer: headers, problems, bodies, the access log.

pub mod access_log;
pub mod body_reader;
pub mod code;
pub mod headers;
pub mod problem;
pub(in crate::server) mod request_scope;
