//! The server's endpoints, over real sockets.

mod browsers;
pub mod console;
mod console_results;
mod index;
mod listener;
mod money;
mod operators;
mod reconciliation;
mod sandbox;
mod tls;
