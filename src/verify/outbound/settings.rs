//! How a provider is reached.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;

use super::pin::Pin;
use crate::domain::personal::Secret;
use crate::providers::Endpoint;

/// Below the 60 s and more after which providers close an idle connection, so that a request seldom meets a closing
/// one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How a provider is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// DNS, TCP and TLS must be done by then.
    pub connect_timeout: Duration,
    /// A connection that was not used for this long is closed. Until then the pool remembers the URL that was asked
    /// last.
    pub idle_timeout: Duration,
    /// Whether the roots that came with the binary count.
    pub roots: Roots,
    /// Roots beside them.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The keys that the provider's certificate may have; empty: any that the chain vouches for.
    pub pins: Vec<Pin>,
    /// What stands between us and it.
    pub proxy: Option<Proxy>,
    /// Which addresses are tried.
    pub family: Family,
}

/// Which roots a certificate may lead to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roots {
    /// Those that came with the binary, and those of `ca_file`.
    #[default]
    BuiltIn,
    /// Those of `ca_file` and no other.
    CaFileOnly,
}

/// Which addresses of a name are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Both; when the first does not connect soon, the other is tried beside it.
    #[default]
    Dual,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// An HTTP proxy that is asked for a tunnel (`CONNECT`).
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: String,
    /// `user:password`, if it wants one.
    pub login: Option<Secret>,
}

impl Outbound {
    /// Straight to the provider, believing the roots that came with the binary.
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
    /// Whether `address` is one of these.
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
