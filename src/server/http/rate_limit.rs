//! The headers `RateLimit` and `RateLimit-Policy` (IETF draft): a client's remaining quota, and its rate.

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{KeyRef, ListSerializer, StringRef, key_ref, string_ref};

use super::headers;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Name of the only policy: each client has a single rate.
const CLIENT: &StringRef = string_ref("client");

/// The `RateLimit-Policy` of one client, the same on every response.
#[derive(Debug, Clone)]
pub(in crate::server) struct Policy(HeaderValue);

/// A client's remaining quota after a request.
#[derive(Debug, Clone)]
pub struct Allowance {
    remaining: u32,
    /// Seconds until the quota is full again.
    reset: u32,
    policy: Policy,
}

impl Policy {
    /// A quota of `quota` requests, refilled within `window` seconds.
    pub(in crate::server) fn new(quota: u32, window: u32) -> Self {
        Self(field([(key_ref("q"), quota), (key_ref("w"), window)]))
    }
}

impl Allowance {
    pub(in crate::server) fn new(remaining: u32, reset: u32, policy: &Policy) -> Self {
        Self { remaining, reset, policy: policy.clone() }
    }

    pub(in crate::server) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(RATELIMIT, field([(key_ref("r"), self.remaining), (key_ref("t"), self.reset)]));
        headers.insert(RATELIMIT_POLICY, self.policy.0.clone());
    }
}

fn field(parameters: [(&KeyRef, u32); 2]) -> HeaderValue {
    let mut list = ListSerializer::new();
    let mut client = list.bare_item(CLIENT);
    for (name, value) in parameters {
        client = client.parameter(name, value);
    }
    let _ = client.finish();
    headers::value(&list.finish().unwrap_or_default())
}
