//! What the drivers share because their upstreams live on one cloud: ways to sign, and the errors of its gateways.

pub mod acs3;
pub mod credentials;
pub mod form;
pub mod json;
pub mod market;
pub mod market_error;
pub mod pop_error;
pub mod rpc;
pub mod rpc_v1;
pub mod seal;
pub mod x_ca;
