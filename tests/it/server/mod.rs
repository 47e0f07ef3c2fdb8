//! The edges, over real sockets.

mod listener;
mod operators;
mod sandbox;
mod tls;
