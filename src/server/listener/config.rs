//! The limits of a listener, from the configuration.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;

/// How long an idle connection stays open after a stop, so that a request already on its way is still answered.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(100);

/// The smallest header limit; hyper panics on a smaller buffer.
pub(super) const MIN_HEADER_BYTES: usize = 8 * 1024;
const MAX_HEADER_BYTES: usize = 1024 * 1024;

const MIN_UNFINISHED_BYTES: usize = 1024 * 1024;

/// Without a configured limit, an address may take this share of the places, but at least so many.
const ADDRESS_SHARE: usize = 2;
const ADDRESS_LEAST: usize = 64;

/// The upper limit of every duration here. Far longer ones would overflow an `Instant`.
pub(super) const LONGEST: Duration = Duration::from_hours(31 * 24);

/// The limits of one listener. Durations are written like `"10s"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a new connection may take until its first request head is complete, TLS handshake included, and how
    /// long any later head may take once it has begun. Then the connection is closed.
    #[serde(with = "friendly")]
    pub first_request_timeout: Duration,
    /// How long a connection may take until the head of its next request is complete, idle time included. Keep it above
    /// the idle timeout of the load balancer in front, so that we never close a connection on which it is sending a
    /// request. It is also the write timeout: how long a client may read nothing of its answer.
    #[serde(with = "friendly")]
    pub keep_alive_timeout: Duration,
    /// The limit on open connections. The next one gets `503 overloaded`, or is closed if it uses TLS.
    pub max_connections: usize,
    /// The limit on open connections from one address (of IPv6: one /64). `None`: half of [`Self::max_connections`],
    /// but at least 64.
    pub max_per_address: Option<usize>,
    /// The budget, in bytes, for the unfinished heads of all connections together. Above it, the connection with the
    /// largest one is cut.
    pub max_unfinished_bytes: usize,
    /// The limit on a request head, in bytes. A longer head gets 431: from the service, with a reason, up to four times
    /// the limit, and from the HTTP parser beyond that. So a connection buffers at most four times the limit.
    pub max_header_bytes: usize,
    /// The limit on concurrent requests on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// The interval of the pings that check whether an HTTP/2 client is still there.
    #[serde(with = "friendly")]
    pub ping_interval: Duration,
    /// How long the answer to a ping may take before the connection is cut.
    #[serde(with = "friendly")]
    pub ping_timeout: Duration,
    /// The approximate age at which a TLS connection is closed gracefully, so that clients spread over new instances
    /// and present their certificates again.
    #[serde(with = "friendly")]
    pub max_connection_age: Duration,
    /// How long requests in flight may take after a stop. Set by the life cycle of the process.
    #[serde(skip)]
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            first_request_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            max_connections: 10_000,
            max_per_address: None,
            max_unfinished_bytes: 16 * 1024 * 1024,
            max_header_bytes: 16 * 1024,
            max_concurrent_streams: 200,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            max_connection_age: Duration::from_hours(1),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Config {
    /// The limit on open connections from one address.
    pub(super) fn per_address(&self) -> usize {
        self.max_per_address.unwrap_or((self.max_connections / ADDRESS_SHARE).max(ADDRESS_LEAST))
    }

    /// All mistakes, as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        for (key, value) in [
            ("first_request_timeout", self.first_request_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("max_connection_age", self.max_connection_age),
        ] {
            if value.is_zero() {
                mistakes.push((key, "would close every connection at once; write for example \"10s\"".to_owned()));
            }
            if value > LONGEST {
                mistakes.push((key, "is longer than a month; write for example \"1h\"".to_owned()));
            }
        }
        if self.max_connections == 0 {
            mistakes.push(("max_connections", "would refuse everybody; write at least 1".to_owned()));
        }
        if self.max_per_address == Some(0) {
            mistakes.push(("max_per_address", "would refuse everybody; write at least 1".to_owned()));
        }
        if self.max_unfinished_bytes < MIN_UNFINISHED_BYTES {
            let problem = "would cut connections whose requests are fine; write at least 1048576".to_owned();
            mistakes.push(("max_unfinished_bytes", problem));
        }
        if self.max_concurrent_streams == 0 {
            mistakes.push(("max_concurrent_streams", "would refuse every request; write at least 1".to_owned()));
        }
        if !(MIN_HEADER_BYTES..=MAX_HEADER_BYTES).contains(&self.max_header_bytes) {
            mistakes.push(("max_header_bytes", format!("must be {MIN_HEADER_BYTES} to {MAX_HEADER_BYTES}")));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_for_people_and_unknown_keys_refused() {
        let config: Config =
            serde_json::from_str(r#"{"first_request_timeout": "200ms", "keep_alive_timeout": "1m 15s"}"#).unwrap();
        assert_eq!(config.first_request_timeout, Duration::from_millis(200));
        assert_eq!(config, Config { first_request_timeout: Duration::from_millis(200), ..Config::default() });
        assert!(serde_json::from_str::<Config>(r#"{"first_request": "1s"}"#).is_err());
    }

    #[test]
    fn every_mistake_is_named_with_its_key() {
        assert_eq!(Config::default().validate(), []);
        let wrong = Config {
            first_request_timeout: Duration::ZERO,
            keep_alive_timeout: Duration::ZERO,
            max_connections: 0,
            max_per_address: Some(0),
            max_unfinished_bytes: 0,
            max_header_bytes: 100,
            max_concurrent_streams: 0,
            ping_interval: Duration::ZERO,
            ping_timeout: Duration::ZERO,
            max_connection_age: Duration::ZERO,
            drain_timeout: Duration::ZERO,
        };
        let keys: Vec<_> = wrong.validate().into_iter().map(|(key, _)| key).collect();
        let all = [
            "first_request_timeout",
            "keep_alive_timeout",
            "ping_interval",
            "ping_timeout",
            "max_connection_age",
            "max_connections",
            "max_per_address",
            "max_unfinished_bytes",
            "max_concurrent_streams",
            "max_header_bytes",
        ];
        assert_eq!(keys, all);
    }
}
