//! The edges, over real sockets.

mod listener;
mod sandbox;
mod tls;
