//! The gateway: everything is built before anything is served. The admin listener is bound first, because probes are
//! answered while the ledger is opened; the public one last, so that nobody waits in its queue.
//!
//! It holds no global state, so two gateways fit into one process. To add a part, build it here from its section and
//! hand it down as an argument.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock_watch::{self, ClockWatch};
use super::config::production::WITHOUT_A_RECORD;
use super::config::{self, Files, Settings, Sources};
use super::descriptors::{self, Shares};
use super::reconcile::ConsoleReconciler;
use super::reload::{self, Reloader};
use super::snapshot::{description, snapshot, warn_of_expiry};
use super::telemetry;
use super::traces::{self, Traces};
use crate::domain::clock::{Clock, Ids};
use crate::domain::subject::DigestKey;
use crate::server::admin::Admin;
use crate::server::api::Verify;
use crate::server::auth::expiry::Expiries;
use crate::server::auth::operator_gate::OperatorGate;
use crate::server::auth::sessions::Sessions;
use crate::server::compat::{Edge, EdgeError};
use crate::server::console::Console;
use crate::server::http::access_log::AccessLog;
use crate::server::http::metrics::Metrics;
use crate::server::http::minutes::Minutes;
use crate::server::http::recorder::Recorder;
use crate::server::idempotency::Idempotency;
use crate::server::listener::{self, Listener, Tls};
use crate::server::log_level::LogLevel;
use crate::server::pipeline::Pipeline;
use crate::server::records::Records;
use crate::server::records::forget::Forget;
use crate::server::reload::Requests;
use crate::server::routes::{self, ForOperators, Public};
use crate::server::snapshot::place;
use crate::storage::Cache;
use crate::storage::ledger::{Ledger, OpenError, ReadError};
use crate::storage::shared::Shared;
use crate::verify::billing::{Billing, Opening};
use crate::verify::outbound::dns::{self, LookUp, Names};
use crate::verify::{self, BuildError, Deps, Isolated, Places, Runtime, Warming};

/// How long admin requests may take after everything else has stopped.
const ADMIN_DRAIN: Duration = Duration::from_millis(500);

/// The dependencies that are not in the configuration; tests replace them.
#[derive(Debug)]
pub struct World {
    pub clock: Clock,
    /// The source of nonces and ids.
    pub ids: Ids,
    pub access_log: AccessLog,
    /// Additional admin routes: the controls of the sandbox.
    pub more_admin: Router,
    /// Resolves the names of providers.
    pub look_up: Arc<dyn LookUp>,
    /// The limit on open files; `None` if there is none.
    pub open_files: Option<u64>,
    /// The descriptors that other parts of this process may take: the simulators of the sandbox.
    pub taken_elsewhere: usize,
}

/// A gateway whose sockets are bound but not served yet.
#[derive(Debug)]
pub struct Gateway {
    pub(super) verify: Arc<Verify>,
    pub(super) public: Listener,
    pub(super) admin: Listener,
    pub(super) public_routes: routes::PublicRoutes,
    pub(super) admin_routes: Router,
    pub(super) tasks: TaskTracker,
    pub(super) access_log: AccessLog,
    pub(super) draining: CancellationToken,
    pub(super) server: config::Server,
    pub(super) reloads: Requests,
    pub(super) reloader: Reloader,
    pub(super) clock_watch: ClockWatch,
    pub(super) shared: Shared,
    pub(super) traces: Traces,
    pub(super) log_level: LogLevel,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A metric was registered twice, which is a bug.
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Traces(#[from] traces::Unusable),
    #[error(transparent)]
    Edge(#[from] EdgeError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Ledger(#[from] OpenError),
    #[error("past spending cannot be read from the ledger: {0}")]
    Spent(String),
    // Not named `source`: the whole chain is printed, and would say it twice.
    #[error("cannot listen on {key} = \"{addr}\": {error}; stop the process that uses it, or choose another address")]
    Bind { key: &'static str, addr: SocketAddr, error: io::Error },
}

/// The opened ledger and the spending of earlier processes, for [`Gateway::bind`].
#[derive(Debug)]
pub struct Books {
    ledger: Ledger,
    opening: Opening,
    /// Providers that were isolated when the process before this one ended.
    isolations: Vec<(Arc<str>, Isolated)>,
}

impl World {
    /// The system clock, random ids, the system's resolver and the limits of this process.
    #[expect(clippy::disallowed_methods, reason = "this is where time and chance come from")]
    pub fn real(access_log: AccessLog) -> Self {
        let ids = Ids::new(uuid::Uuid::new_v4, uuid::Uuid::now_v7);
        let look_up = Arc::new(dns::System);
        Self {
            clock: Clock::watched(jiff::Timestamp::now, clock_watch::since_boot),
            ids,
            access_log,
            more_admin: Router::new(),
            look_up,
            open_files: descriptors::limit(),
            taken_elsewhere: 0,
        }
    }
}

impl Gateway {
    /// Builds everything from `settings`, then binds. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a part cannot be built (then nothing is bound), or an address cannot be bound.
    pub fn bind(settings: Settings, world: World, books: Books) -> Result<Self, StartError> {
        let admin = bind_admin(&settings, &world)?;
        Self::bind_public(settings, world, books, admin)
    }

    /// Builds everything from `settings` around the bound `admin` listener, then binds the public one.
    pub(super) fn bind_public(
        mut settings: Settings,
        world: World,
        books: Books,
        admin: Listener,
    ) -> Result<Self, StartError> {
        let shares = shares(&settings, &world);
        if let Some(complaint) = shares.complaint() {
            tracing::warn!("{complaint}");
        }
        let registry = Registry::new();
        let tasks = TaskTracker::new();
        let digest_key = digest_key(&settings, &world.ids);
        let verify_metrics = verify::Metrics::register(&registry)?;
        let Books { ledger, opening, isolations } = books;
        let is_shared = ledger.is_shared();
        ledger.register(&registry)?;
        let shared = match settings.shared.clone() {
            Some(config) => Shared::new(config, (&digest_key, &world.clock, &world.ids), &registry)?,
            None => Shared::OFF,
        };
        shared.describe(&description(&settings.sections));
        let deps = Deps {
            cache: Arc::new(Cache::memory(settings.cache.clone())),
            digest_key: digest_key.clone(),
            metrics: verify_metrics.clone(),
            tasks: tasks.clone(),
            clock: world.clock.clone(),
            ids: world.ids.clone(),
            traces: Arc::default(),
            names: Arc::new(Names::new(world.look_up, &registry)?),
            ledger: ledger.clone(),
            billing: Arc::new(Billing::new(world.clock.clone(), opening, &registry)?),
            places: Arc::new(Places::new(settings.server.max_in_flight, &verify_metrics)),
            warming: Arc::new(Warming::new(ledger.clone(), world.clock.clone())),
            shared: shared.clone(),
        };
        let has_documentation = settings.profile == config::Profile::Development;
        let (sections, ledger_config) = (settings.sections.clone(), settings.ledger.clone());
        let fixed = reload::Fixed::of(&settings);
        let runtime = Arc::new(Runtime::build(&settings.verify, &deps, None)?);
        for (provider, isolated) in isolations {
            tracing::warn!(provider = &*provider, by = &*isolated.by, "still isolated, as before this start");
            runtime.isolate(&provider, isolated);
        }
        let (server, poll) = (settings.server.clone(), settings.reload.poll);
        let (console_config, has_tls) = (settings.console.clone(), settings.admin_tls.is_some());
        let public_tls = settings.tls.take();
        // The listener has it.
        settings.admin_tls = None;
        let (traces, tracer) = Traces::start(settings.tracing.as_ref(), &registry)?;
        let billing = Arc::clone(runtime.billing());
        let (current, switch) = place(snapshot(runtime, settings, &shared, None));
        let draining = CancellationToken::new();
        let clock_watch = ClockWatch::new(world.clock.clone(), &registry)?;
        let minutes = console_config.enabled.then(Arc::<Minutes>::default);
        let recorder = Recorder::new(
            world.access_log.clone(),
            Metrics::register(&registry)?,
            world.clock.clone(),
            world.ids.clone(),
            tracer,
            minutes.clone(),
        );
        let pipeline = Arc::new(Pipeline {
            current: current.clone(),
            digest_key,
            lookups: Semaphore::new(server.max_in_flight.min(Semaphore::MAX_PERMITS)),
            max_header_bytes: server.connections.max_header_bytes,
            verify_metrics,
            clock: world.clock,
            ids: world.ids,
            ledger,
            shared: shared.clone(),
            last_call: CancellationToken::new(),
        });
        let idempotency = if is_shared { Idempotency::new().shared() } else { Idempotency::new() };
        let (pipe, record) = (|| Arc::clone(&pipeline), || recorder.clone());
        let verify = Arc::new(Verify { pipeline: pipe(), idempotency: idempotency.clone(), recorder: record() });
        let records = Arc::new(Records { pipeline: pipe(), recorder: record() });
        let streams = usize::try_from(server.connections.max_concurrent_streams).unwrap_or(usize::MAX);
        let compat = Arc::new(Edge::new(pipe(), record(), server.max_in_flight, streams, &registry)?);
        register_process(&registry)?;
        for counter in world.access_log.counters().into_iter().chain(telemetry::counters()) {
            registry.register(Box::new(counter))?;
        }
        registry.register(Box::new(Expiries::new(current.clone())?))?;
        public_tls.iter().for_each(|tls| warn_of_expiry("server.tls", tls, pipeline.clock.wall()));
        let limits = listener::Config {
            drain_timeout: server.drain_timeout,
            max_connections: shares.public,
            ..server.connections.clone()
        };
        let public = bind("server.listen", server.listen, limits, public_tls)?;
        let connections = listener::Metrics::register(&registry, &[("public", &public), ("admin", &admin)])?;
        let (reloads, asked) = crate::server::reload::channel();
        let tls = [("server.tls", public.tls()), ("server.admin_tls", admin.tls())];
        let reloader = Reloader::new(reload::Running { fixed, sections, deps, switch, tls, poll }, asked, &registry)?;
        let sessions = minutes.as_ref().map(|_| Arc::new(Sessions::new(console_config.session, pipeline.ids.clone())));
        let console = minutes.zip(sessions.clone()).map(|(minutes, sessions)| {
            billing.keep_minutes();
            let listener = (registry.clone(), has_tls);
            let console = Console::new(console_config, pipe(), record(), sessions, minutes, listener);
            console.with_reconciliation(ConsoleReconciler { ledger: ledger_config, key: pipeline.digest_key.clone() })
        });
        let gate = OperatorGate {
            current: current.clone(),
            recorder: record(),
            clock: pipeline.clock.clone(),
            max_header_bytes: pipeline.max_header_bytes,
            sessions: sessions.clone(),
        };
        let log_level = telemetry::log_level();
        let for_operators = ForOperators {
            gate,
            admin: Arc::new(Admin {
                current,
                registry,
                connections,
                reloads: reloads.clone(),
                ledger: pipeline.ledger.clone(),
                shared: shared.clone(),
                log_level: log_level.clone(),
                clock: pipeline.clock.clone(),
                draining: draining.clone(),
            }),
            records: Arc::clone(&records),
            forget: Arc::new(Forget { pipeline: pipe(), idempotency }),
            console,
            more: world.more_admin,
        };
        Ok(Self {
            public_routes: routes::public(Public { verify: Arc::clone(&verify), records, compat, has_documentation }),
            admin_routes: routes::for_operators(for_operators),
            verify,
            public,
            admin,
            tasks,
            access_log: world.access_log,
            draining,
            server,
            reloads,
            reloader,
            clock_watch,
            shared,
            traces,
            log_level,
        })
    }

    /// Enables reloads from `sources`, on request or when one of `files` changes.
    #[must_use]
    pub fn reloading(mut self, sources: Sources, files: Files) -> Self {
        self.reloader.read_from(sources, files);
        self
    }

    /// A handle to request reloads.
    pub fn reloads(&self) -> Requests {
        self.reloads.clone()
    }

    /// The bound address of the public API.
    pub fn public_addr(&self) -> SocketAddr {
        self.public.local_addr()
    }

    /// The bound address of the admin API.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    pub(super) fn access_log(&self) -> AccessLog {
        self.access_log.clone()
    }

    /// The verification service without its sockets, for commands.
    pub fn verify(&self) -> &Verify {
        &self.verify
    }
}

/// How many connections each listener may have.
fn shares(settings: &Settings, world: &World) -> Shares {
    let outgoing = descriptors::to_providers(settings).saturating_add(world.taken_elsewhere);
    Shares::of(world.open_files, outgoing, settings.server.connections.max_connections)
}

/// Binds the admin listener of `settings`. Must be called within a tokio runtime.
pub(super) fn bind_admin(settings: &Settings, world: &World) -> Result<Listener, StartError> {
    let (server, tls) = (&settings.server, settings.admin_tls.clone());
    tls.iter().for_each(|tls| warn_of_expiry("server.admin_tls", tls, world.clock.wall()));
    // It stops last and has nothing to wait for.
    let drain_timeout = ADMIN_DRAIN.min(server.drain_timeout);
    let max_connections = shares(settings, world).admin;
    let limits = listener::Config { drain_timeout, max_connections, ..server.connections.clone() };
    bind("server.admin_listen", server.admin_listen, limits, tls)
}

fn bind(
    key: &'static str,
    addr: SocketAddr,
    limits: listener::Config,
    tls: Option<Tls>,
) -> Result<Listener, StartError> {
    let bound = Listener::bind(addr, limits).map_err(|error| StartError::Bind { key, addr, error })?;
    Ok(match tls {
        Some(tls) => bound.with_tls(tls),
        None => bound,
    })
}

/// Opens the ledger of `settings` and reads past spending from it, for [`Gateway::bind`].
///
/// # Errors
/// When the ledger cannot be opened or read; the message says what to do.
pub async fn ledger(settings: &Settings, world: &World) -> Result<Books, StartError> {
    let ledger = Ledger::open(&settings.ledger, world.clock.clone(), world.ids.clone()).await?;
    if !ledger.is_on() {
        tracing::warn!(
            "neither ledger.file nor ledger.postgres is set, so answers and paid calls are not recorded; set it for production"
        );
    }
    if settings.lacks_a_common_record() {
        tracing::warn!("shared: {WITHOUT_A_RECORD}");
    }
    let opening = match Opening::read(&ledger, &settings.verify, &world.clock).await {
        // Read as soon as it answers.
        Err(ReadError::Away | ReadError::Behind) if ledger.is_shared() => {
            Opening::unknown(&settings.verify, &world.clock)
        }
        read => read.map_err(|error| StartError::Spent(error.to_string()))?,
    };
    let names = settings.verify.providers.iter().map(|one| &one.name);
    let isolations = match isolations(&ledger, names, world.clock.now()).await {
        Err(ReadError::Away | ReadError::Behind) if ledger.is_shared() => Vec::new(),
        read => read.map_err(|error| StartError::Spent(error.to_string()))?,
    };
    Ok(Books { ledger, opening, isolations })
}

/// The providers that are isolated, as the record has it.
pub(super) async fn isolations(
    ledger: &Ledger,
    providers: impl Iterator<Item = &Arc<str>>,
    now: Timestamp,
) -> Result<Vec<(Arc<str>, Isolated)>, ReadError> {
    let mut isolations = Vec::new();
    for name in providers {
        let last = ledger.last_isolation(name).await?;
        let isolated = last.filter(|last| last.outcome == "isolated").map(|last| Isolated {
            by: Arc::from(last.operator),
            reason: last.reason.map(Arc::from),
            since: Timestamp::from_millisecond(last.at_ms).unwrap_or(now),
            until: last.until_ms.and_then(|until| Timestamp::from_millisecond(until).ok()),
        });
        if let Some(isolated) = isolated.filter(|isolated| isolated.until.is_none_or(|until| until > now)) {
            isolations.push((Arc::clone(name), isolated));
        }
    }
    Ok(isolations)
}

/// The configured digest key, or a random one: without a ledger, the cache and idempotency keys end with the process
/// anyway.
fn digest_key(settings: &Settings, ids: &Ids) -> DigestKey {
    match &settings.digest_key {
        Some(secret) => digest_key_of(&[secret.expose().as_bytes()]),
        None => digest_key_of(&[(); 4].map(|()| ids.nonce().into_bytes()).each_ref().map(|nonce| &nonce[..])),
    }
}

/// The digest key that is made of a configured secret.
pub(super) fn digest_key_of(secret: &[&[u8]]) -> DigestKey {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new_with_prefix("idgate digest key");
    secret.iter().for_each(|part| hash.update(part));
    DigestKey::new(hash.finalize().into())
}

fn register_process(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let build = IntGaugeVec::new(Opts::new("idgate_build_info", "1, with what was built."), &["version", "target"])?;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), &target]).set(1);
    registry.register(Box::new(build))
}
