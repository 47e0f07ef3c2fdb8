//! The edges: bytes in, bytes out.
//!
//! Invariant: whatever comes in through a socket is bounded here, in time, size and number, before anything else
//! sees it. To add an edge: a folder with its own router, served by [`listener::Listener`].

pub mod listener;
pub mod sandbox;
