//! Shared by the drivers on Alibaba Cloud: signatures, credentials, and the errors of its gateways.

pub mod acs3;
pub mod credentials;
pub mod market;
pub mod market_error;
pub mod pop_error;
pub mod rpc;
pub mod rpc_v1;
pub mod schemes;
pub mod seal;
pub mod x_ca;
