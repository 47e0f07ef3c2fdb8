//! The server's endpoints, over real sockets.

mod listener;
mod operators;
mod sandbox;
mod tls;
