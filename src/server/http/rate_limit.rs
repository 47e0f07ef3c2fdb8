//! The headers `RateLimit` and `RateLimit-Policy` (IETF draft): a client's remaining quota, and its rate.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::header_text::HeaderText;

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

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
        Self(field("q", quota, "w", window))
    }
}

impl Allowance {
    pub(in crate::server) fn new(remaining: u32, reset: u32, policy: &Policy) -> Self {
        Self { remaining, reset, policy: policy.clone() }
    }

    pub(in crate::server) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(RATELIMIT, field("r", self.remaining, "t", self.reset));
        headers.insert(RATELIMIT_POLICY, self.policy.0.clone());
    }
}

/// A list with one item (RFC 9651): the only policy, since each client has a single rate.
fn field(first: &str, one: u32, second: &str, two: u32) -> HeaderValue {
    let mut text = HeaderText::default();
    text.push("\"client\";").push(first).push("=").number(one.into());
    text.push(";").push(second).push("=").number(two.into());
    text.value()
}
