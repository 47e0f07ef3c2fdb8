//! Whether PostgreSQL answers, and the connections to it.
//!
//! One task looks each second whether the server still answers, and at once when somebody waits longer than usual. From
//! then on everybody is refused without waiting, until it answers again. What is under way is given up then: a server
//! that hangs keeps its connections open.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::Config;
use super::connecting::{self, LinkError, may_pass};
use super::schema;
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
/// How long a start waits for a connection, and for the schema.
const STARTS_WITHIN: Duration = Duration::from_secs(2);
const LONGEST_START: Duration = Duration::from_secs(60);
/// A request is refused once the server has answered nobody for so long.
const SILENT_FOR: Duration = Duration::from_millis(220);
const CONNECTION_WITHIN: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many numbers of forgotten people are remembered as this replica's own.
const MOST_FORGOT: usize = 10_000;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Connections reserved for idempotency keys, so that a long look-up never delays a question.
const KEYS: u32 = 2;
/// The flusher's connection, and the one that looks whether the server answers.
const OURS: u32 = 2;

/// Says that this replica lives. It must not wait for the server's disk.
const HERE: &str = "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)) \
                    INSERT INTO ~replicas AS r (replica, incarnation, version, seen_ms, level_ms) \
                    SELECT $1, $2, $3, now_ms, now_ms - $4 FROM quick, \
                    (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock \
                    ON CONFLICT (replica) DO UPDATE SET incarnation = excluded.incarnation, \
                    version = excluded.version, seen_ms = excluded.seen_ms, level_ms = excluded.level_ms \
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
    /// Whether the schema is known to be this program's.
    is_prepared: AtomicBool,
    sent_again: AtomicU64,
    /// For how long the oldest entry of the spool has waited.
    unmoved_ms: AtomicU64,
    /// Whether the month of the time in a week has no partition.
    lacks_partition: AtomicBool,
    /// The numbers under which this replica has told the others whom it forgot.
    forgot: Mutex<BTreeSet<i64>>,
    /// When the server answered last, in milliseconds since `began`.
    answered_ms: AtomicU64,
    began: Instant,
}

/// The connections of one stay of the server.
#[derive(Debug)]
pub(super) struct Pools {
    pub(super) keys: PgPool,
    pub(super) lookups: PgPool,
}

impl Link {
    /// Connects, brings the schema up to date and says that this replica lives.
    pub(super) async fn open(
        config: &Config,
        replica: &str,
        incarnation: Uuid,
    ) -> Result<(Self, PgConnection), LinkError> {
        let link = Self::new(config, replica, incarnation);
        let connection = link.begin(CONNECTS_WITHIN).await?;
        Ok((link, connection))
    }

    /// Like [`Self::open`], but a server that is away is left to [`Self::watch`]. What waiting would not cure is an
    /// error.
    pub(in super::super) async fn start(
        config: &Config,
        replica: &str,
        incarnation: Uuid,
    ) -> Result<(Self, Option<PgConnection>), LinkError> {
        let link = Self::new(config, replica, incarnation);
        let begun = timeout(LONGEST_START, link.begin(STARTS_WITHIN)).await.unwrap_or(Err(LinkError::Silent));
        match begun {
            Ok(connection) => Ok((link, Some(connection))),
            Err(error) if error.may_pass() => {
                tracing::error!(
                    %error,
                    "ledger: PostgreSQL is away at the start; entries wait in the spool, look-ups and idempotency keys are \
                     refused, and so is who has a budget, until what was spent has been read"
                );
                Ok((link, None))
            }
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, patience: Duration) -> Result<PgConnection, LinkError> {
        let mut connection = connecting::connect(&self.0.config, patience).await?;
        self.prepare(&mut connection).await?;
        self.is_here(&mut connection).await?;
        self.0.pools.send_replace(Some(Arc::new(self.new_pools().await?)));
        Ok(connection)
    }

    /// Brings the schema up to date, once.
    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), LinkError> {
        if self.0.is_prepared.load(Ordering::Relaxed) {
            return Ok(());
        }
        let schema = &self.0.config.schema;
        if self.may_migrate() {
            let migrated = schema::migrate(connection, self.sql(), schema).await;
            migrated.map_err(|error| LinkError::schema(schema, error))?;
        }
        schema::check(connection, self.sql(), schema).await.map_err(|error| LinkError::schema(schema, error))?;
        self.0.is_prepared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Only reads, and does not say that it lives.
    pub(super) async fn to_read(config: &Config) -> Result<Self, LinkError> {
        let link = Self::new(config, "", Uuid::nil());
        let mut connection = link.connect().await?;
        let checked = schema::check(&mut connection, link.sql(), &config.schema).await;
        checked.map_err(|error| LinkError::schema(&config.schema, error))?;
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
            is_prepared: AtomicBool::new(false),
            sent_again: AtomicU64::new(0),
            unmoved_ms: AtomicU64::new(0),
            lacks_partition: AtomicBool::new(false),
            forgot: Mutex::default(),
            answered_ms: AtomicU64::new(0),
            began: Instant::now(),
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

    /// Notes for how long the oldest entry of the spool has waited, for the others.
    pub(in super::super) fn is_unmoved_for(&self, oldest: Duration) {
        self.0.unmoved_ms.store(u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Notes whether the month of the time in a week has no partition.
    pub(super) fn lacks_partition(&self, lacks: bool) {
        if lacks && !self.0.lacks_partition.swap(lacks, Ordering::Relaxed) {
            tracing::error!(
                "ledger: PostgreSQL has no partition for the entries of the next days; run `idgate ledger migrate` as the \
                 owner of the schema"
            );
        }
        self.0.lacks_partition.store(lacks, Ordering::Relaxed);
    }

    pub(in super::super) fn is_partition_missing(&self) -> bool {
        self.0.lacks_partition.load(Ordering::Relaxed)
    }

    /// Counts entries that had to be sent again, because the server had lost what it had acknowledged.
    pub(super) fn sent_again(&self, entries: u64) {
        self.0.sent_again.fetch_add(entries, Ordering::Relaxed);
    }

    pub(in super::super) fn all_sent_again(&self) -> u64 {
        self.0.sent_again.load(Ordering::Relaxed)
    }

    /// Notes that this replica has told the others under this number whom it forgot.
    pub(super) fn forgot(&self, number: i64) {
        let mut numbers = self.0.forgot.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.insert(number);
        if numbers.len() > MOST_FORGOT {
            // At worst it is forgotten once more.
            numbers.pop_first();
        }
    }

    /// Whether this number is this replica's own. It is asked once.
    pub(super) fn has_forgotten(&self, number: i64) -> bool {
        self.0.forgot.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
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
        let (mut work, mut silence) = (pin!(timeout(longest, work)), pin!(self.silence(pools.is_some())));
        tokio::select! {
            biased;
            done = &mut work => match done {
                Ok(done) => done.inspect(|_| self.answered()).map_err(|error| self.judge(error)),
                Err(_) => Err(ReadError::Away),
            },
            _ = now.wait_for(is_gone) => Err(ReadError::Away),
            () = &mut silence => Err(ReadError::Away),
        }
    }

    /// Returns once the server has answered nobody for longer than a caller shall wait; has it looked at meanwhile.
    /// Never returns unless the caller `gives_up`.
    pub(in super::super) async fn silence(&self, gives_up: bool) {
        let began = Instant::now();
        let mut look_at = began + USUAL;
        loop {
            let last = self.0.began + Duration::from_millis(self.0.answered_ms.load(Ordering::Relaxed));
            let until = last.max(began) + SILENT_FOR;
            if gives_up && Instant::now() >= until {
                return;
            }
            sleep_until(if gives_up { look_at.min(until) } else { look_at }).await;
            if Instant::now() >= look_at {
                self.0.suspect.notify_one();
                look_at = Instant::now() + ANSWERS_WITHIN;
            }
        }
    }

    fn answered(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.answered_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// An error that is the connection's makes everybody look whether the server is still there.
    fn judge(&self, error: sqlx::Error) -> ReadError {
        let is_about_data = match &error {
            sqlx::Error::Database(_) => !may_pass(&error),
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
        connecting::connect(&self.0.config, CONNECTS_WITHIN).await
    }

    async fn new_pools(&self) -> Result<Pools, LinkError> {
        let options = connecting::options(&self.0.config).await?;
        let pool = |most| PgPoolOptions::new().max_connections(most).acquire_timeout(CONNECTION_WITHIN);
        let lookups = self.0.config.connections.saturating_sub(KEYS + OURS).max(1);
        Ok(Pools {
            keys: pool(KEYS).connect_lazy_with(options.clone()),
            lookups: pool(lookups).connect_lazy_with(options),
        })
    }

    /// Says that this replica lives, and notices who has its name.
    async fn is_here(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let here = self.sql().query(HERE).bind(self.replica()).bind(self.incarnation().as_bytes().to_vec());
        let unmoved_ms = i64::try_from(self.0.unmoved_ms.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let here = here.bind(env!("CARGO_PKG_VERSION")).bind(unmoved_ms);
        let mut transaction = connection.begin().await?;
        let is_taken = here.execute(&mut *transaction).await?.rows_affected() == 0;
        transaction.commit().await?;
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
    pub(in super::super) async fn watch(self, mut connection: Option<PgConnection>, closing: CancellationToken) {
        let looking = async {
            let (mut pause, mut told) = (FIRST_RETRY, String::new());
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
                        (pause, told) = (FIRST_RETRY, String::new());
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
                        } else if !error.may_pass() && told != error.to_string() {
                            told = error.to_string();
                            tracing::error!(%error, "ledger: PostgreSQL is there again, but cannot be used");
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
            None => {
                let mut connection = self.connect().await?;
                let prepared = timeout(LONGEST_START, self.prepare(&mut connection)).await;
                prepared.map_err(|_| LinkError::Silent)??;
                (connection, CONNECTS_WITHIN)
            }
        };
        timeout(patience, self.is_here(&mut connection)).await.map_err(|_| LinkError::Silent)??;
        self.answered();
        Ok(connection)
    }
}

/// What the flusher is told while the server is away.
fn away() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, "PostgreSQL does not answer"))
}
