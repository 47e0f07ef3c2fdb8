//! The outbound connection settings of a provider.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::pin::Pin;
use crate::domain::personal::Secret;
use crate::providers::Endpoint;

/// Below the 60 s or more after which providers close an idle connection, so that a request rarely hits one that is
/// just closing.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The outbound connection settings of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Covers DNS, TCP and TLS.
    pub connect_timeout: Duration,
    /// A connection that is idle for this long is closed. Until then the pool keeps the last requested URL, which may
    /// contain personal data.
    pub idle_timeout: Duration,
    pub roots: Roots,
    /// Additional roots, from `ca_file`.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The keys that the provider's certificate may have. Empty: any key with a valid chain.
    pub pins: Vec<Pin>,
    pub proxy: Option<Proxy>,
    pub family: Family,
}

/// Which roots are trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roots {
    /// The roots compiled into the binary, and those of `ca_file`.
    #[default]
    BuiltIn,
    /// Only the roots of `ca_file`.
    CaFileOnly,
}

/// Which address families are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Both; if the first does not connect soon, the other is tried in parallel.
    #[default]
    Dual,
    V4,
    V6,
}

/// An HTTP proxy, used with `CONNECT`.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: String,
    /// `user:password`, if the proxy requires a login.
    pub login: Option<Secret>,
}

impl Outbound {
    /// No proxy, no pins, built-in roots.
    pub fn direct(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            idle_timeout: IDLE_TIMEOUT,
            roots: Roots::default(),
            authorities: Vec::new(),
            pins: Vec::new(),
            proxy: None,
            family: Family::default(),
        }
    }

    pub(super) fn to(&self, endpoint: &Endpoint) -> Self {
        let proxy = if endpoint.is_loopback() { None } else { self.proxy.clone() };
        Self { proxy, ..self.clone() }
    }
}

impl Family {
    /// Whether `address` is of this family.
    pub fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Dual => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let same_login = match (&self.login, &other.login) {
            (None, None) => true,
            (Some(one), Some(other)) => one.matches(other.expose().as_bytes()),
            _ => false,
        };
        self.url == other.url && same_login
    }
}

impl Eq for Proxy {}
