//! (stub)
mod laws;
mod market;
mod rpc;
