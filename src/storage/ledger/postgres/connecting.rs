//! Connects to the server, and knows which failures waiting may cure.

use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use tokio::time::timeout;

use super::config::{Address, Config, Password};
use super::schema::SchemaError;

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum LinkError {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("the schema {0} cannot be used: {1}")]
    Schema(String, String),
    #[error("the file {1} of ledger.postgres.{0} cannot be read: {2}")]
    File(&'static str, String, io::Error),
    #[error("it does not answer")]
    Silent,
}

impl LinkError {
    pub(super) fn schema(name: &str, error: SchemaError) -> Self {
        match error {
            SchemaError::Database(error) if may_pass(&error) => Self::Database(error),
            error => Self::Schema(name.to_owned(), error.to_string()),
        }
    }

    /// Whether it may be over by itself: the server is away or busy, and nothing is wrong with what is configured.
    pub(in super::super) fn may_pass(&self) -> bool {
        match self {
            Self::Database(error) => may_pass(error),
            Self::Silent => true,
            Self::Schema(..) | Self::File(..) => false,
        }
    }
}

/// Whether this error is about the way to the server, or about the server itself, and not about what it was asked.
pub(in super::super) fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        // Classes: connection, resources, operator intervention, system error; and a standby, which takes no writes.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006"
        }),
        // What a handshake finds wrong comes as invalid data.
        sqlx::Error::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied
        ),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Connects with the password as it is now.
pub(super) async fn connect(config: &Config, patience: Duration) -> Result<PgConnection, LinkError> {
    let connecting = async { Ok(options(config).await?.connect().await?) };
    timeout(patience, connecting).await.map_err(|_| LinkError::Silent)?
}

pub(super) async fn options(config: &Config) -> Result<PgConnectOptions, LinkError> {
    let options = PgConnectOptions::new_without_pgpass()
        .username(&config.user)
        .database(&config.database)
        .application_name("idgate")
        // Statements and the values bound to them must not reach the log.
        .disable_statement_logging();
    let mut options = match config.address() {
        Some(Address::Socket(folder)) => options.host(folder),
        Some(Address::Host(host, port)) => options.host(host).port(port),
        None => options,
    };
    options = match &config.password {
        Some(Password::Fixed(secret)) => options.password(secret.expose()),
        Some(Password::File(path)) => {
            let text = tokio::fs::read_to_string(path).await.map(zeroize::Zeroizing::new);
            let text = text.map_err(|error| LinkError::File("password", path.display().to_string(), error))?;
            options.password(text.trim_end_matches(['\r', '\n']))
        }
        None => options,
    };
    let is_plain = config.is_local() && config.ca_file.is_none();
    options = options.ssl_mode(if is_plain { PgSslMode::Disable } else { PgSslMode::VerifyFull });
    if let Some(file) = &config.ca_file {
        options = options.ssl_root_cert(there("ca_file", file).await?);
    }
    if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
        options = options.ssl_client_cert(there("certificate", certificate).await?);
        options = options.ssl_client_key(there("key", key).await?);
    }
    if !config.prepared {
        options = options.statement_cache_capacity(0);
    }
    Ok(options)
}

/// The same path, if a file is there: the library's error does not say which one is missing.
async fn there<'p>(key: &'static str, path: &'p Path) -> Result<&'p Path, LinkError> {
    match tokio::fs::metadata(path).await {
        Ok(_) => Ok(path),
        Err(error) => Err(LinkError::File(key, path.display().to_string(), error)),
    }
}
