//! Section `[ledger.postgres]`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::domain::personal::Secret;

/// One connection each for the flusher and the look whether the database answers, two for idempotency keys, and one for
/// look-ups.
const FEWEST_CONNECTIONS: u32 = 5;
const MOST_CONNECTIONS: u32 = 100;
const PORT: u16 = 5432;

/// Section `[ledger.postgres]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `HOST`, `HOST:PORT`, or the folder of a Unix socket.
    pub(super) host: String,
    pub(super) database: String,
    pub(super) user: String,
    /// Filled in from the secrets.
    #[serde(skip)]
    pub password: Option<Password>,
    /// Whose certificates are accepted; by default, those of the public authorities.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The certificate by which this replica shows who it is, and its key.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    #[serde(default)]
    pub key: Option<PathBuf>,
    #[serde(default = "schema")]
    pub(super) schema: String,
    #[serde(default = "connections")]
    pub(super) connections: u32,
    /// Whether statements are prepared once for each connection.
    #[serde(default = "yes")]
    pub(super) prepared: bool,
    /// Whether a start brings the schema up to date.
    #[serde(default = "yes")]
    pub(super) migrate: bool,
}

/// How the role proves who it is.
#[derive(Debug, Clone)]
pub enum Password {
    /// Read again for each connection, so that it can be changed while idgate runs.
    File(PathBuf),
    Fixed(Secret),
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address<'a> {
    Socket(&'a str),
    Host(&'a str, u16),
}

fn schema() -> String {
    "idgate".to_owned()
}

const fn connections() -> u32 {
    8
}

const fn yes() -> bool {
    true
}

impl Config {
    /// Returns every mistake as (key, what is wrong and what to write instead).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let mut wrong = |key, problem: &str| mistakes.push((key, problem.to_owned()));
        if self.address().is_none() {
            wrong("postgres.host", "is no host; write \"db.internal:5432\", or the folder of a Unix socket");
        }
        if self.database.is_empty() {
            wrong("postgres.database", "is empty; write the name of the database");
        }
        if self.user.is_empty() {
            wrong("postgres.user", "is empty; write the name of the role");
        }
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_name = self.schema.bytes().all(is_plain) && self.schema.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_name || self.schema.len() > 40 {
            wrong("postgres.schema", "is no name of a schema; write small letters, digits and _, at most 40");
        }
        if !(FEWEST_CONNECTIONS..=MOST_CONNECTIONS).contains(&self.connections) {
            let range = format!("must be {FEWEST_CONNECTIONS} to {MOST_CONNECTIONS}");
            wrong("postgres.connections", &range);
        }
        if self.certificate.is_some() != self.key.is_some() {
            wrong("postgres.certificate", "needs its key, and the key needs it; write both or neither");
        }
        mistakes
    }

    /// What messages call it.
    pub(in super::super) fn place(&self) -> String {
        format!("{}/{}", self.host, self.database)
    }

    pub(super) fn address(&self) -> Option<Address<'_>> {
        if self.host.starts_with('/') {
            return Some(Address::Socket(&self.host));
        }
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (&*self.host, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some(Address::Host(host, port))
    }

    /// Whether nobody but this machine sees what is sent.
    pub(super) fn is_local(&self) -> bool {
        match self.address() {
            Some(Address::Socket(_)) => true,
            Some(Address::Host(host, _)) => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(host: &str) -> Config {
        serde_json::from_value(json!({"host": host, "database": "idgate", "user": "idgate"})).unwrap()
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted() {
        for (host, is_local) in [
            ("/run/postgresql", true),
            ("127.0.0.1:5432", true),
            ("[::1]:5432", true),
            ("127.0.0.1", true),
            // A name may lead anywhere.
            ("localhost:5432", false),
            ("db.internal:5432", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(config(host).is_local(), is_local, "{host}");
        }
    }

    #[test]
    fn each_mistake_is_said_with_its_key() {
        let keys = |config: Config| config.validate().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(config("db.internal")), [""; 0]);
        assert_eq!(keys(config("db.internal:port")), ["postgres.host"]);
        assert_eq!(keys(config("")), ["postgres.host"]);
        let schema = "Public".to_owned();
        let wrong = Config { schema, connections: 4, certificate: Some("c.pem".into()), ..config("db") };
        assert_eq!(keys(wrong), ["postgres.schema", "postgres.connections", "postgres.certificate"]);
    }
}
