//! Endpoints of STS and the metadata service, and the lifetime of role keys.

use std::time::Duration;

use crate::providers::Endpoint;

/// The vendor's default lifetime of role keys.
pub(super) const HOUR: Duration = Duration::from_hours(1);
/// The shortest lifetime that STS grants.
pub(super) const SHORTEST: Duration = Duration::from_mins(15);

/// The services that issue a profile's keys.
#[derive(Debug, Clone)]
pub struct Services {
    /// The configured STS endpoint, if any.
    pub sts_endpoint: Option<Endpoint>,
    /// The STS region, used without a configured endpoint.
    pub sts_region: Option<String>,
    /// Whether to use the VPC endpoint of STS.
    pub vpc: bool,
    pub metadata: Endpoint,
    /// Whether the metadata service may be used without a token.
    pub allow_v1: bool,
    /// The role session name.
    pub session: String,
}

impl Services {
    /// The STS endpoint by the vendor's rules. The VPC setting only applies together with a region.
    pub(super) fn sts(&self, region: Option<&str>, vpc: Option<bool>) -> Result<Endpoint, String> {
        if let Some(endpoint) = &self.sts_endpoint {
            return Ok(endpoint.clone());
        }
        match region.or(self.sts_region.as_deref()) {
            None => Endpoint::parse("https://sts.aliyuncs.com"),
            Some(region) if region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
                let network = if vpc.unwrap_or(self.vpc) { "-vpc" } else { "" };
                Endpoint::parse(&format!("https://sts{network}.{region}.aliyuncs.com"))
            }
            Some(_) => Err("is no region".to_owned()),
        }
    }
}

/// The lifetime of role keys.
pub(super) fn seconds(configured: Option<u64>) -> Duration {
    configured.filter(|seconds| *seconds > 0).map_or(HOUR, |seconds| Duration::from_secs(seconds).max(SHORTEST))
}
