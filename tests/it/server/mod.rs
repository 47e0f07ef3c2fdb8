//! The server's endpoints, over real sockets.

mod browsers;
pub mod console;
mod index;
mod listener;
mod money;
mod operators;
mod reconciliation;
mod sandbox;
mod tls;
