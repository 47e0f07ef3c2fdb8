//! The connection to Redis: one task that keeps one multiplexed connection, so that a command never waits for a
//! reconnect.
//!
//! While there is no connection a command says [`Away`] at once; otherwise after the patience at the latest. A link that
//! gives an I/O error, that turns out to be a replica, or that lets two commands time out with no success between is
//! dropped. A stopped Redis still accepts connections, so only an answered PING proves anything.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo,
    RedisError, RedisResult, ServerErrorKind, TlsMode, Value,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::behind::{Behind, Item, queue};
use super::bus::Event;
use super::config::Config;
use super::metrics::{Meter, Sent};
use super::patience::{Away, Patience};
use super::script::{Command, sources};

/// How long connecting may take in all.
const CONNECT: Duration = Duration::from_millis(500);

/// The pause before the next attempt: 50 ms, twice as long each time, at most a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many commands may wait to be written.
const BUFFER: usize = 512;

/// How many messages may wait to be handed on.
const PUSHES: usize = 4096;

/// The messages of one connection.
#[derive(Debug)]
struct Pushes {
    waiting: mpsc::Receiver<PushInfo>,
    /// Whether one had no room.
    is_full: Arc<AtomicBool>,
}

/// The end that the connection has.
struct Sender {
    sender: mpsc::Sender<PushInfo>,
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct Link {
    config: Config,
    channel: String,
    current: ArcSwapOption<Connected>,
    /// Whether there is one, for what has no link.
    is_up: Arc<AtomicBool>,
    /// Wakes the supervisor: the connection is of no use.
    broken: Notify,
    since: Mutex<Instant>,
    meter: Meter,
    /// What nobody waits for; read by the supervisor.
    behind: mpsc::Sender<Item>,
    queued: Mutex<Option<Behind>>,
}

#[derive(Debug)]
struct Connected {
    connection: MultiplexedConnection,
    /// In a row.
    timeouts: AtomicU32,
}

impl AsyncPushSender for Sender {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        self.sender.try_send(info).map_err(|error| {
            self.is_full.fetch_or(matches!(error, mpsc::error::TrySendError::Full(_)), Ordering::Relaxed);
            SendError
        })
    }
}

impl Link {
    pub(super) fn new(config: &Config, channel: String, meter: Meter) -> Self {
        let (behind, queue) = queue();
        Self {
            behind,
            queued: Mutex::new(Some(queue)),
            config: config.clone(),
            channel,
            current: ArcSwapOption::empty(),
            is_up: Arc::default(),
            broken: Notify::new(),
            since: Mutex::new(Instant::now()),
            meter,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.current.load().is_some()
    }

    /// Says whether it is up, now and later.
    pub(super) fn up_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_up)
    }

    /// Since when it is up, or away.
    pub(super) fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what `query` makes, within what is left of `patience`.
    pub(super) async fn send<T, F>(
        &self,
        command: Command,
        patience: &Patience,
        query: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Away>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (result, sent, took) = self.exchange(patience, query).await;
        self.meter.sent(command, sent, took);
        result
    }

    async fn exchange<T, F>(
        &self,
        patience: &Patience,
        query: impl FnOnce(MultiplexedConnection) -> F,
    ) -> (Result<T, Away>, Sent, Duration)
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (left, began) = (patience.left(), Instant::now());
        let Some(connected) = self.current.load_full().filter(|_| !left.is_zero()) else {
            return (Err(Away), Sent::Away, Duration::ZERO);
        };
        let answer = timeout(left, query(connected.connection.clone())).await;
        patience.spent(began);
        let (result, sent) = match answer {
            Ok(Ok(value)) => {
                connected.timeouts.store(0, Ordering::Relaxed);
                (Ok(value), Sent::Ok)
            }
            Ok(Err(error)) => {
                if is_fatal(&error) {
                    self.lose(&connected, reason(&error));
                }
                (Err(Away), Sent::Error)
            }
            Err(_late) => {
                // One that had no time to wait proves nothing.
                let was_patient = left * 2 >= self.config.patience;
                if was_patient && connected.timeouts.fetch_add(1, Ordering::Relaxed) >= 1 {
                    self.lose(&connected, "it does not answer");
                }
                (Err(Away), Sent::Timeout)
            }
        };
        (result, sent, began.elapsed())
    }

    /// Sends a command later, together with others. Nothing is lost with it that does not heal by itself.
    pub(super) fn behind(&self, command: Command, cmd: Cmd) {
        self.queue(Item::new(command, cmd, None));
    }

    /// Like [`Self::behind`]; `then` gets the answer, or `None` if Redis is away.
    pub(super) fn behind_then(&self, command: Command, cmd: Cmd, then: impl FnOnce(Option<Value>) + Send + 'static) {
        self.queue(Item::new(command, cmd, Some(Box::new(then))));
    }

    fn queue(&self, item: Item) {
        if let Err(full) = self.behind.try_send(item) {
            let item = full.into_inner();
            self.meter.sent(item.command(), Sent::Away, Duration::ZERO);
            item.answer(None);
        }
    }

    /// Sends what nobody waits for; never ends.
    pub(super) async fn write_behind(&self) {
        let queue = self.queued.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut queue) = queue else { return std::future::pending().await };
        while let Some(pipe) = queue.next().await {
            let patience = Patience::of(self.config.patience);
            let query = async move |mut to: MultiplexedConnection| pipe.query_async::<Vec<Value>>(&mut to).await;
            let (answers, sent, took) = self.exchange(&patience, query).await;
            queue.was_answered(answers.ok(), |command| self.meter.sent(command, sent, took));
        }
    }

    /// Keeps the connection up, and hands its pushes to `hear`; never ends. If `hear` has no room, or pushes come faster
    /// than they are handed on, the connection is dropped, and `missed` is told.
    pub(super) async fn run(&self, hear: impl Fn(PushInfo) -> bool, missed: &mpsc::Sender<Event>) {
        let mut pause = FIRST_PAUSE;
        let mut is_said = false;
        loop {
            match timeout(CONNECT, self.connect()).await.unwrap_or_else(|_| Err(RedisError::from(late()))) {
                Ok((connected, mut pushes)) => {
                    self.has_come(connected);
                    (pause, is_said) = (FIRST_PAUSE, false);
                    let mut is_missed = false;
                    loop {
                        tokio::select! {
                            () = self.broken.notified() => {}
                            push = pushes.waiting.recv() => match push {
                                Some(push) if push.kind != PushKind::Disconnection => {
                                    is_missed = !hear(push) || pushes.is_full.load(Ordering::Relaxed);
                                    if !is_missed {
                                        continue;
                                    }
                                    self.lose_any("its messages come too fast");
                                }
                                _ => self.lose_any("the connection was closed"),
                            },
                        }
                        if !self.is_up() {
                            break;
                        }
                    }
                    // What had come before the connection went is still heard.
                    while let Ok(push) = pushes.waiting.try_recv() {
                        is_missed |= !hear(push);
                    }
                    drop(pushes);
                    if is_missed {
                        // The connection is dropped by now, so nothing is lost while this waits for room.
                        let _ = missed.send(Event::Missed).await;
                    }
                }
                Err(error) => {
                    if !is_said {
                        tracing::warn!(error = reason(&error), "the shared Redis cannot be reached; limits are local");
                    }
                    is_said = true;
                    // Not together with the other replicas.
                    let spread = pause.mul_f64(fastrand::f64() / 5.0);
                    sleep(pause.saturating_sub(spread)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn connect(&self) -> RedisResult<(Connected, Pushes)> {
        let client = self.client().await?;
        let (sender, waiting) = mpsc::channel(PUSHES);
        let is_full = Arc::new(AtomicBool::new(false));
        let pushes = Pushes { waiting, is_full: Arc::clone(&is_full) };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(BUFFER)
            .set_push_sender(Sender { sender, is_full });
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        is_primary(&mut connection).await?;
        let mut load = redis::pipe();
        for source in sources() {
            load.cmd("SCRIPT").arg("LOAD").arg(source).ignore();
        }
        load.query_async::<()>(&mut connection).await?;
        connection.subscribe(&self.channel).await?;
        for _ in 0..2 {
            let began = Instant::now();
            redis::cmd("PING").query_async::<()>(&mut connection).await?;
            if began.elapsed() * 2 > self.config.patience {
                return Err(RedisError::from(late()));
            }
        }
        Ok((Connected { connection, timeouts: AtomicU32::new(0) }, pushes))
    }

    async fn client(&self) -> RedisResult<Client> {
        client(&self.config).await
    }

    fn has_come(&self, connected: Connected) {
        tracing::info!("the shared Redis answers; limits are shared");
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.current.store(Some(Arc::new(connected)));
        self.is_up.store(true, Ordering::Relaxed);
        self.meter.up(true);
    }

    fn lose_any(&self, why: &str) {
        if let Some(connected) = self.current.load_full() {
            self.lose(&connected, why);
        }
    }

    /// Drops the connection, unless it has been replaced.
    fn lose(&self, lost: &Arc<Connected>, why: &str) {
        let before = self.current.compare_and_swap(lost, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, lost)) {
            self.is_up.store(false, Ordering::Relaxed);
            tracing::warn!(why, "the shared Redis is away; limits are local");
            *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            self.meter.up(false);
            self.broken.notify_one();
        }
    }
}

/// A client for the primary, which the sentinels are asked for if there are any.
pub(super) async fn client(config: &Config) -> RedisResult<Client> {
    let dial = || config.addresses.iter().map(|address| address.to_dial(config.tls.is_some()));
    let password = config.password.get().await;
    // `TcpSettings` takes what a peer that is gone must not hold for longer.
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(CONNECT * 2);
    if let Some(service) = &config.sentinel {
        let mut builder = SentinelClientBuilder::new(dial(), service, SentinelServerType::Master)?
            .set_client_to_redis_db(config.database.into())
            .set_client_to_redis_protocol(ProtocolVersion::RESP3)
            .set_client_to_redis_tcp_settings(tcp);
        if let Some(user) = &config.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        if let Some(tls) = &config.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(tls.certificates())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(tls.certificates());
        }
        return builder.build()?.async_get_client().await;
    }
    let mut redis = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(config.database.into());
    if let Some(user) = &config.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &password {
        redis = redis.set_password(password.expose());
    }
    let address = dial().next().ok_or((ErrorKind::InvalidClientConfig, "no address"))?;
    let info =
        redis::IntoConnectionInfo::into_connection_info(address)?.set_redis_settings(redis).set_tcp_settings(tcp);
    match &config.tls {
        Some(tls) => Client::build_with_tls(info, tls.certificates()),
        None => Client::open(info),
    }
}

/// A replica answers too, and forgets what it is told.
async fn is_primary(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(connection).await?;
    let is_primary = match role.first() {
        Some(redis::Value::BulkString(role)) => role == b"master",
        Some(redis::Value::SimpleString(role)) => role == "master",
        _ => false,
    };
    if is_primary { Ok(()) } else { Err(RedisError::from((ErrorKind::Client, "it is a replica"))) }
}

const fn late() -> (ErrorKind, &'static str) {
    (ErrorKind::Client, "it does not answer in time")
}

/// Whether the connection is of no use after this.
fn is_fatal(error: &RedisError) -> bool {
    let server = match error.kind() {
        ErrorKind::Server(server) => matches!(
            server,
            ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::NoScript
                | ServerErrorKind::NoPerm
        ),
        _ => false,
    };
    server || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

/// What may be logged of an error: its kind, and never what was sent.
pub(super) fn reason(error: &RedisError) -> &str {
    match error.kind() {
        ErrorKind::Client => "it does not answer, or is a replica",
        ErrorKind::AuthenticationFailed => "it refuses user or password",
        ErrorKind::Io => "it cannot be reached",
        _ => error.code().unwrap_or_else(|| error.category()),
    }
}
