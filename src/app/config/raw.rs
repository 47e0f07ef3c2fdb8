//! All sections as written, before validation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as friendly;
use serde::Deserialize;
use tracing_subscriber::filter::{ParseError, Targets};

use super::profile::Profile;
use super::sections::provider_section::Section;
use super::sections::replica::Replica;
use super::sections::traces;
use crate::resilience::{account, breaker};
use crate::server::auth::certificates::Identity;
use crate::server::auth::client_config::ClientConfig;
use crate::server::auth::operators::OperatorConfig;
use crate::server::records::receipt;
use crate::server::{compat, console, listener};
use crate::storage;
use crate::verify::outbound::dns;
use crate::verify::{enumeration, holds, policy};

/// The SHA-256 of the empty string: the output of `sha256sum` for an unset variable, and the digest of an empty key.
pub(super) const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Section `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Names under which the listeners may be asked where no key is needed.
    pub hosts: Vec<String>,
    #[serde(with = "friendly")]
    pub request_timeout: Duration,
    #[serde(with = "friendly")]
    pub body_timeout: Duration,
    pub max_body_bytes: usize,
    pub max_in_flight: usize,
    #[serde(with = "friendly")]
    pub drain_notice: Duration,
    #[serde(with = "friendly")]
    pub drain_timeout: Duration,
    pub client_identity: Identity,
    pub behind: Behind,
    pub connections: listener::Config,
    /// Plain HTTP if not set.
    #[serde(default)]
    pub tls: Option<listener::tls::Section>,
    /// Plain HTTP if not set.
    #[serde(default)]
    pub admin_tls: Option<listener::tls::Section>,
}

/// What stands between the callers and the listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behind {
    /// Callers may reach the ports themselves.
    Nothing,
    /// Only a proxy or a mesh that ends TLS reaches the ports, so that they may serve plain HTTP in production.
    TrustedProxy,
}

/// Section `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: Format,
    /// The access log; standard output if not set.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The most lines a second and listener about requests of nobody we know.
    pub strangers_per_second: u32,
}

impl Log {
    /// The level as a filter: directives such as `info` or `idgate::verify=debug`, separated by commas.
    ///
    /// # Errors
    /// When a directive cannot be parsed.
    pub fn filter(&self) -> Result<Targets, ParseError> {
        // The parser would take spaces as part of a target. Only those around a word go: whoever checks the words must see
        // the same ones.
        let trimmed = |directive: &str| directive.split('=').map(str::trim).collect::<Vec<_>>().join("=");
        let directives = self.level.split(',').map(trimmed).filter(|directive| !directive.is_empty());
        directives.collect::<Vec<_>>().join(",").parse()
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
    Text,
}

/// Section `[reload]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    #[serde(with = "friendly")]
    pub poll: Duration,
}

/// Section `[rules]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub(super) calendar: CalendarWord,
    pub(super) name_script: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CalendarWord {
    Strict,
    Lenient,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegionsSection {
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetSection {
    pub(super) extra_attempts_per_minute: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) profile: Profile,
    pub(super) server: Server,
    pub(super) log: Log,
    pub(super) tracing: traces::Section,
    pub(super) reload: Reload,
    pub(super) rules: Rules,
    pub(super) compat: compat::Config,
    pub(super) console: console::Config,
    #[serde(default)]
    pub(super) regions: RegionsSection,
    #[serde(default)]
    pub(super) clients: BTreeMap<String, ClientConfig>,
    #[serde(default)]
    pub(super) operators: BTreeMap<String, OperatorConfig>,
    #[serde(default)]
    pub(super) purposes: BTreeMap<String, policy::Purpose>,
    pub(super) cache: storage::Config,
    pub(super) ledger: storage::ledger::Config,
    pub(super) replica: Replica,
    pub(super) shared: storage::shared::Section,
    #[serde(default)]
    pub(super) receipts: receipt::keys::Config,
    pub(super) holds: holds::Config,
    pub(super) enumeration: enumeration::Config,
    pub(super) budget: BudgetSection,
    pub(super) breaker: breaker::Config,
    pub(super) account: account::Config,
    pub(super) dns: dns::Config,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, Section>,
    pub(super) chain: policy::Config,
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn spaces_around_the_words_of_a_filter_mean_nothing() {
        let log =
            |level: &str| Log { level: level.to_owned(), format: Format::Json, file: None, strangers_per_second: 1 };
        for level in ["info,idgate::verify=debug", " info, idgate::verify=debug,", "idgate::verify = debug ,, info"] {
            let filter = log(level).filter().unwrap();
            for (target, most) in [("idgate::verify::chain", Level::DEBUG), ("idgate::server", Level::INFO)] {
                assert!(filter.would_enable(target, &most), "{level}");
                assert!(!filter.would_enable(target, &Level::TRACE) && filter.would_enable("sqlx", &Level::INFO));
            }
            assert!(!filter.would_enable("idgate::server", &Level::DEBUG), "{level}");
        }
        // Whoever looks for `debug` would not see it.
        assert!(log("info,sqlx=de bug").filter().is_err());
    }
}
