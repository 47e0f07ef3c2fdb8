//! Sections `[shared]` and `[replica]`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use redis::ConnectionAddr;
use serde::Deserialize;

use super::password::{Password, Tls};

/// The prefix of an address that is a path.
const UNIX: &str = "unix:";

/// Section `[shared]` as written, without its secrets. Without `redis` nothing is shared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// `host:port`, or `unix:/path`; with `sentinel`, the sentinels.
    #[serde(default)]
    pub redis: Vec<String>,
    /// The name of the service that the sentinels know.
    #[serde(default)]
    pub sentinel: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// For mutual TLS, with the secret `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    pub tls: bool,
    pub database: u16,
    pub namespace: String,
    #[serde(with = "friendly")]
    pub patience: Duration,
    #[serde(with = "friendly")]
    pub takeover: Duration,
}

/// What the link needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub(super) addresses: Vec<Address>,
    pub(super) sentinel: Option<String>,
    pub(super) user: Option<String>,
    pub password: Password,
    pub(super) tls: Option<Tls>,
    pub(super) database: u16,
    pub(super) namespace: String,
    pub(super) patience: Duration,
    pub(super) takeover: Duration,
    pub(super) replica: String,
    pub(super) most: NonZeroU32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Section {
    /// Every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self, request_timeout: Duration) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let mut mistake = |key, problem: &str| mistakes.push((key, problem.to_owned()));
        if self.redis.is_empty() {
            return mistakes;
        }
        let addresses: Vec<_> = self.redis.iter().map(|text| Address::parse(text)).collect();
        if addresses.iter().any(Option::is_none) {
            mistake("redis", "has an address without a port; write [\"redis.internal:6380\"] or [\"unix:/path\"]");
        }
        if self.sentinel.is_none() && self.redis.len() > 1 {
            mistake("redis", "names several servers, and no sentinel; write one, or shared.sentinel = \"NAME\"");
        }
        if !self.tls && addresses.iter().flatten().any(Address::is_remote) {
            mistake(
                "tls",
                "is false for another machine, so passwords and verdicts would cross the network in clear \
                            text; write true",
            );
        }
        let is_word = |word: &str| {
            (1..=40).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !is_word(&self.namespace) {
            mistake("namespace", "is no short word; write a-z, 0-9 and -, at most 40 characters, such as \"idgate\"");
        }
        if !(Duration::from_millis(5)..=Duration::from_secs(1)).contains(&self.patience) {
            mistake("patience", "is not from 5ms to 1s; write \"50ms\"");
        } else if self.patience > request_timeout / 10 {
            mistake("patience", "is longer than a tenth of server.request_timeout; write \"50ms\"");
        }
        if !(Duration::from_secs(2)..=Duration::from_mins(1)).contains(&self.takeover) {
            mistake("takeover", "is not from 2s to 60s; write \"5s\"");
        }
        mistakes
    }

    /// Whether `[shared]` is set at all.
    pub fn is_set(&self) -> bool {
        !self.redis.is_empty()
    }

    /// The validated section, with its files and secrets; `None` if nothing is shared.
    pub fn finish(&self, password: Password, tls: Tls, replica: String, most: NonZeroU32) -> Option<Config> {
        let addresses: Vec<_> = self.redis.iter().filter_map(|text| Address::parse(text)).collect();
        let is_tls = self.tls && addresses.iter().any(|address| matches!(address, Address::Tcp(..)));
        (!addresses.is_empty()).then(|| Config {
            addresses,
            sentinel: self.sentinel.clone(),
            user: self.user.clone(),
            password,
            tls: is_tls.then_some(tls),
            database: self.database,
            namespace: self.namespace.clone(),
            patience: self.patience,
            takeover: self.takeover,
            replica,
            most,
        })
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return path.starts_with('/').then(|| Self::Unix(PathBuf::from(path)));
        }
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Self::Tcp(host.to_owned(), port.parse().ok()?))
    }

    fn is_remote(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(host, _) => {
                host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    /// As redis-rs has it.
    pub(super) fn to_dial(&self, is_tls: bool) -> ConnectionAddr {
        match self {
            Self::Unix(path) => ConnectionAddr::Unix(path.clone()),
            Self::Tcp(host, port) if is_tls => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            Self::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(redis: &[&str]) -> Section {
        Section {
            redis: redis.iter().map(|one| (*one).to_owned()).collect(),
            sentinel: None,
            user: None,
            ca_file: None,
            certificate: None,
            tls: true,
            database: 0,
            namespace: "idgate".to_owned(),
            patience: Duration::from_millis(50),
            takeover: Duration::from_secs(5),
        }
    }

    #[test]
    fn every_mistake_has_its_key() {
        let second = Duration::from_secs(1);
        let keys = |section: Section| section.validate(8 * second).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(keys(section(&["redis.internal:6380"])).is_empty());
        assert!(keys(section(&["unix:/run/redis"])).is_empty());
        assert!(keys(Section { patience: Duration::ZERO, ..section(&[]) }).is_empty(), "nothing is shared");
        for (wrong, key) in [
            (section(&["redis.internal"]), "redis"),
            (section(&["unix:run"]), "redis"),
            (section(&["a:1", "b:1"]), "redis"),
            (Section { tls: false, ..section(&["redis.internal:6379"]) }, "tls"),
            (Section { namespace: "A b".to_owned(), ..section(&["a:1"]) }, "namespace"),
            (Section { patience: 2 * second, ..section(&["a:1"]) }, "patience"),
            (Section { patience: second, ..section(&["a:1"]) }, "patience"),
            (Section { takeover: second, ..section(&["a:1"]) }, "takeover"),
        ] {
            assert_eq!(keys(wrong), [key]);
        }
        for local in ["127.0.0.1:6379", "localhost:6379", "[::1]:6379"] {
            assert!(keys(Section { tls: false, ..section(&[local]) }).is_empty(), "{local}");
        }
        let sentinels = Section { sentinel: Some("idgate".to_owned()), ..section(&["a:1", "b:1"]) };
        assert!(keys(sentinels).is_empty());
    }
}
