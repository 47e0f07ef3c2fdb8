//! Where STS and the metadata service are, and how long a role's keys live.

use std::time::Duration;

use crate::providers::Endpoint;

/// The vendor's default for the life of a role's keys.
pub(super) const HOUR: Duration = Duration::from_hours(1);
/// The shortest life that STS grants.
pub(super) const SHORTEST: Duration = Duration::from_mins(15);

/// The services that a profile's keys come from.
#[derive(Debug, Clone)]
pub struct Services {
    /// STS, if it is configured.
    pub sts_endpoint: Option<Endpoint>,
    /// The region of STS otherwise.
    pub sts_region: Option<String>,
    /// Whether STS is asked inside the cloud's network.
    pub vpc: bool,
    /// The metadata service.
    pub metadata: Endpoint,
    /// Whether metadata is asked without a token if need be.
    pub allow_v1: bool,
    /// What the use of a role is called.
    pub session: String,
}

impl Services {
    /// Where STS is, by the vendor's rules: the network matters only beside a region.
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

/// How long a role's keys shall live.
pub(super) fn seconds(configured: Option<u64>) -> Duration {
    configured.filter(|seconds| *seconds > 0).map_or(HOUR, |seconds| Duration::from_secs(seconds).max(SHORTEST))
}
