//! What proves to a provider who asks, and where that comes from.

use std::sync::Arc;

use super::source::Source;
use crate::domain::personal::Secret;

/// Where the credential of a provider comes from.
#[derive(Debug, Clone)]
pub enum Access {
    /// The configuration has it.
    Given(Credential),
    /// It is fetched, and fetched again before it ends.
    Fetched(Arc<dyn Source>),
}

impl Access {
    /// The credential, if the configuration has it.
    pub fn given(&self) -> Option<&Credential> {
        match self {
            Self::Given(credential) => Some(credential),
            Self::Fetched(_) => None,
        }
    }
}

/// What proves who asks.
#[derive(Debug, Clone)]
pub enum Credential {
    /// An Alibaba Cloud AccessKey pair, with the token of temporary keys.
    AccessKey {
        /// Public id.
        id: String,
        /// Signs.
        secret: Secret,
        /// Only with temporary keys.
        security_token: Option<Secret>,
    },
    /// A bearer AppCode of the cloud market.
    AppCode(Secret),
    /// An AppKey pair of the API gateway.
    AppKey {
        /// Public id.
        key: String,
        /// Signs.
        secret: Secret,
    },
}

impl Credential {
    /// Whether both are the very same, secrets compared in constant time.
    pub fn is(&self, other: &Self) -> bool {
        let same = |one: &Secret, other: &Secret| one.matches(other.expose().as_bytes());
        match (self, other) {
            (
                Self::AccessKey { id, secret, security_token },
                Self::AccessKey { id: other_id, secret: other_secret, security_token: other_token },
            ) => {
                let same_token = match (security_token, other_token) {
                    (None, None) => true,
                    (Some(one), Some(other)) => same(one, other),
                    _ => false,
                };
                id == other_id && same(secret, other_secret) && same_token
            }
            (Self::AppCode(one), Self::AppCode(other)) => same(one, other),
            (Self::AppKey { key, secret }, Self::AppKey { key: other_key, secret: other_secret }) => {
                key == other_key && same(secret, other_secret)
            }
            _ => false,
        }
    }
}
