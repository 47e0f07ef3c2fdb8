//! Whether PostgreSQL answers, and the connections to it.
//!
//! One task looks each second whether the server still answers, and at once when somebody waits longer than usual. From
//! then on everybody is refused without waiting, until it answers again. What is under way is given up then: a server
//! that hangs keeps its connections open.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::{Address, Config, Password};
use super::schema::{self, SchemaError};
use super::sql::Sql;
use crate::storage::ledger::error::ReadError;

/// How long a read may take before the server is asked whether it still answers, and how long that may take.
const USUAL: Duration = Duration::from_millis(50);
const ANSWERS_WITHIN: Duration = Duration::from_millis(150);
/// How long a read may take.
const LONGEST_READ: Duration = Duration::from_secs(2);
/// How long a transaction of the flusher may take. It is given up sooner if the server does not answer.
const LONGEST_WRITE: Duration = Duration::from_secs(60);
/// How long a connection may take, and how long a caller waits for one.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
const CONNECTION_WITHIN: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Connections reserved for idempotency keys, so that a long look-up never delays a question.
const KEYS: u32 = 2;
/// The flusher's connection, and the one that looks whether the server answers.
const OURS: u32 = 2;

/// Says that this replica lives. It must not wait for the server's disk.
const HERE: &str = "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)) \
                    INSERT INTO ~replicas AS r (replica, incarnation, version, seen_ms) \
                    SELECT $1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM quick \
                    ON CONFLICT (replica) DO UPDATE SET incarnation = excluded.incarnation, \
                    version = excluded.version, seen_ms = excluded.seen_ms \
                    WHERE r.incarnation <= excluded.incarnation";

/// The way to the database. Clones share it.
#[derive(Debug, Clone)]
pub(in super::super) struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    sql: Sql,
    replica: String,
    /// The later process with the same name has the greater one.
    incarnation: Uuid,
    /// `None` while it is away.
    pools: watch::Sender<Option<Arc<Pools>>>,
    suspect: Notify,
    is_taken: AtomicBool,
    sent_again: AtomicU64,
}

/// The connections of one stay of the server.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) keys: PgPool,
    pub(super) lookups: PgPool,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum LinkError {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("the schema {0} cannot be used: {1}")]
    Schema(String, String),
    #[error("the file {0} of ledger.postgres.password cannot be read: {1}")]
    Password(String, std::io::Error),
    #[error("it does not answer")]
    Silent,
}

impl LinkError {
    fn schema(name: &str, error: &SchemaError) -> Self {
        Self::Schema(name.to_owned(), error.to_string())
    }
}

impl Link {
    /// Waits for the server at most `patience`, brings the schema up to date and says that this replica lives.
    pub(in super::super) async fn open(
        config: &Config,
        replica: &str,
        incarnation: Uuid,
        patience: Duration,
    ) -> Result<(Self, PgConnection), LinkError> {
        let link = Self::new(config, replica, incarnation);
        let until = Instant::now() + patience;
        let mut pause = FIRST_RETRY;
        let mut connection = loop {
            match link.connect().await {
                Ok(connection) => break connection,
                Err(error) if Instant::now() + pause >= until => return Err(error),
                Err(error) => {
                    if pause == FIRST_RETRY {
                        tracing::warn!(%error, "ledger: PostgreSQL does not answer yet");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_RETRY);
                }
            }
        };
        let schema = &config.schema;
        if config.migrate {
            let migrated = schema::migrate(&mut connection, link.sql(), schema).await;
            migrated.map_err(|error| LinkError::schema(schema, &error))?;
        }
        schema::check(&mut connection, link.sql(), schema).await.map_err(|error| LinkError::schema(schema, &error))?;
        link.is_here(&mut connection).await?;
        link.0.pools.send_replace(Some(Arc::new(link.new_pools().await?)));
        Ok((link, connection))
    }

    /// Only reads, and does not say that it lives.
    pub(super) async fn to_read(config: &Config) -> Result<Self, LinkError> {
        let link = Self::new(config, "", Uuid::nil());
        let mut connection = link.connect().await?;
        let checked = schema::check(&mut connection, link.sql(), &config.schema).await;
        checked.map_err(|error| LinkError::schema(&config.schema, &error))?;
        let _ = connection.close().await;
        link.0.pools.send_replace(Some(Arc::new(link.new_pools().await?)));
        Ok(link)
    }

    pub(in super::super) fn new(config: &Config, replica: &str, incarnation: Uuid) -> Self {
        Self(Arc::new(Inner {
            sql: Sql::new(&config.schema, config.prepared),
            config: config.clone(),
            replica: replica.to_owned(),
            incarnation,
            pools: watch::Sender::new(None),
            suspect: Notify::new(),
            is_taken: AtomicBool::new(false),
            sent_again: AtomicU64::new(0),
        }))
    }

    pub(super) fn sql(&self) -> &Sql {
        &self.0.sql
    }

    pub(super) fn schema(&self) -> &str {
        &self.0.config.schema
    }

    pub(super) fn may_migrate(&self) -> bool {
        self.0.config.migrate
    }

    pub(super) fn replica(&self) -> &str {
        &self.0.replica
    }

    pub(super) fn incarnation(&self) -> Uuid {
        self.0.incarnation
    }

    /// Whether a later process has this replica's name.
    pub(in super::super) fn is_taken(&self) -> bool {
        self.0.is_taken.load(Ordering::Relaxed)
    }

    pub(in super::super) fn is_up(&self) -> bool {
        self.0.pools.borrow().is_some()
    }

    /// Counts entries that had to be sent again, because the server had lost what it had acknowledged.
    pub(super) fn sent_again(&self, entries: u64) {
        self.0.sent_again.fetch_add(entries, Ordering::Relaxed);
    }

    pub(in super::super) fn all_sent_again(&self) -> u64 {
        self.0.sent_again.load(Ordering::Relaxed)
    }

    /// Connections of the pools: all, and idle.
    pub(in super::super) fn connections(&self) -> [(&'static str, u32, usize); 2] {
        let pools = self.0.pools.borrow().clone();
        let of = |pool: fn(&Pools) -> &PgPool| {
            pools.as_deref().map_or((0, 0), |pools| (pool(pools).size(), pool(pools).num_idle()))
        };
        let ((keys, keys_idle), (lookups, lookups_idle)) = (of(|pools| &pools.keys), of(|pools| &pools.lookups));
        [("keys", keys, keys_idle), ("lookups", lookups, lookups_idle)]
    }

    /// Returns once the server is away, or at once if it is.
    pub(in super::super) async fn away(&self) {
        // The sender lives as long as this.
        let _ = self.0.pools.subscribe().wait_for(Option::is_none).await;
    }

    /// The connections.
    ///
    /// # Errors
    /// While it is away.
    pub(super) fn pools(&self) -> Result<Arc<Pools>, ReadError> {
        self.0.pools.borrow().clone().ok_or(ReadError::Away)
    }

    /// Runs a read on `pools`, for as long as the server answers.
    pub(super) async fn read<T>(
        &self,
        pools: &Arc<Pools>,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, ReadError> {
        self.within(Some(pools), LONGEST_READ, work).await
    }

    /// Runs a transaction of the flusher, for as long as the server answers. After an error its connection must not be
    /// used again.
    pub(super) async fn write<T>(&self, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        self.within(None, LONGEST_WRITE, work).await.map_err(|error| match error {
            ReadError::Database(error) => error,
            ReadError::Away | ReadError::Behind => away(),
        })
    }

    async fn within<T>(
        &self,
        pools: Option<&Arc<Pools>>,
        longest: Duration,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, ReadError> {
        let mut now = self.0.pools.subscribe();
        let is_gone = |now: &Option<Arc<Pools>>| match (now, pools) {
            (None, _) => true,
            (Some(now), Some(pools)) => !Arc::ptr_eq(now, pools),
            (Some(_), None) => false,
        };
        let mut work = pin!(timeout(longest, work));
        let mut is_slow = false;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return match done {
                    Ok(done) => done.map_err(|error| self.judge(error)),
                    Err(_) => Err(ReadError::Away),
                },
                _ = now.wait_for(is_gone) => return Err(ReadError::Away),
                () = sleep(USUAL), if !is_slow => {
                    is_slow = true;
                    self.0.suspect.notify_one();
                }
            }
        }
    }

    /// An error that is the connection's makes everybody look whether the server is still there.
    fn judge(&self, error: sqlx::Error) -> ReadError {
        let is_about_data = match &error {
            // Classes: connection, resources, operator intervention, system error; and a standby, which takes no writes.
            sqlx::Error::Database(error) => error.code().is_none_or(|code| {
                !(["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006")
            }),
            sqlx::Error::RowNotFound
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_) => true,
            _ => false,
        };
        if is_about_data {
            return ReadError::Database(error);
        }
        self.0.suspect.notify_one();
        ReadError::Away
    }

    /// Connects with the password as it is now.
    pub(super) async fn connect(&self) -> Result<PgConnection, LinkError> {
        let connecting = async { Ok(self.options().await?.connect().await?) };
        timeout(CONNECTS_WITHIN, connecting).await.map_err(|_| LinkError::Silent)?
    }

    async fn new_pools(&self) -> Result<Pools, LinkError> {
        let options = self.options().await?;
        let pool = |most| PgPoolOptions::new().max_connections(most).acquire_timeout(CONNECTION_WITHIN);
        let lookups = self.0.config.connections.saturating_sub(KEYS + OURS).max(1);
        Ok(Pools {
            keys: pool(KEYS).connect_lazy_with(options.clone()),
            lookups: pool(lookups).connect_lazy_with(options),
        })
    }

    async fn options(&self) -> Result<PgConnectOptions, LinkError> {
        let config = &self.0.config;
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
                let text = text.map_err(|error| LinkError::Password(path.display().to_string(), error))?;
                options.password(text.trim_end_matches(['\r', '\n']))
            }
            None => options,
        };
        let is_plain = config.is_local() && config.ca_file.is_none();
        options = options.ssl_mode(if is_plain { PgSslMode::Disable } else { PgSslMode::VerifyFull });
        if let Some(file) = &config.ca_file {
            options = options.ssl_root_cert(file);
        }
        if let (Some(certificate), Some(key)) = (&config.certificate, &config.key) {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        if !config.prepared {
            options = options.statement_cache_capacity(0);
        }
        Ok(options)
    }

    /// Says that this replica lives, and notices who has its name.
    async fn is_here(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let here = self.sql().query(HERE).bind(self.replica()).bind(self.incarnation().as_bytes().to_vec());
        let here = here.bind(env!("CARGO_PKG_VERSION"));
        let is_taken = here.execute(connection).await?.rows_affected() == 0;
        if is_taken && !self.0.is_taken.swap(true, Ordering::Relaxed) {
            tracing::error!(
                replica = self.replica(),
                "ledger: another process has the name of this replica: paid calls are refused here, and nothing is \
                 moved any more. Give each replica a name of its own (replica.name)"
            );
        }
        Ok(())
    }

    /// Looks after the connections until `closing`.
    pub(in super::super) async fn watch(self, connection: PgConnection, closing: CancellationToken) {
        let mut connection = Some(connection);
        let looking = async {
            let mut pause = FIRST_RETRY;
            loop {
                match self.look(connection.take()).await {
                    Ok(kept) => {
                        if !self.is_up() {
                            match self.new_pools().await {
                                Ok(pools) => {
                                    self.0.pools.send_replace(Some(Arc::new(pools)));
                                    tracing::warn!("ledger: PostgreSQL answers again");
                                }
                                Err(error) => tracing::error!(%error, "ledger: PostgreSQL cannot be used"),
                            }
                        }
                        pause = FIRST_RETRY;
                        tokio::select! {
                            () = sleep(LOOK_EVERY) => {}
                            () = self.0.suspect.notified() => {}
                        }
                        connection = Some(kept);
                    }
                    Err(error) => {
                        if self.0.pools.send_replace(None).is_some() {
                            tracing::error!(
                                %error,
                                "ledger: PostgreSQL is away; entries wait in the spool, look-ups and new idempotency \
                                 keys are refused"
                            );
                        }
                        sleep(pause).await;
                        pause = (pause * 2).min(LAST_RETRY);
                    }
                }
            }
        };
        tokio::select! {
            () = looking => {}
            () = closing.cancelled() => {}
        }
        if let Some(pools) = self.0.pools.send_replace(None) {
            // A server that hangs is not waited for.
            let closing = async { tokio::join!(pools.keys.close(), pools.lookups.close()) };
            let _ = timeout(CONNECTION_WITHIN, closing).await;
        }
    }

    async fn look(&self, connection: Option<PgConnection>) -> Result<PgConnection, LinkError> {
        let (mut connection, patience) = match connection {
            Some(connection) => (connection, ANSWERS_WITHIN),
            None => (self.connect().await?, CONNECTS_WITHIN),
        };
        timeout(patience, self.is_here(&mut connection)).await.map_err(|_| LinkError::Silent)??;
        Ok(connection)
    }
}

/// What the flusher is told while the server is away.
fn away() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, "PostgreSQL does not answer"))
}
