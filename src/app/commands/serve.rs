//! `idgate serve`.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::app::config::{Behind, Found, Log, Settings, Sources};
use crate::app::lifecycle::{Ended, Signals, answering_probes};
use crate::app::stack_wiper::StackWiper;
use crate::app::{Gateway, World, memory, telemetry};
use crate::server::http::access_log::AccessLog;
use crate::server::reload::Requests;

/// The exit code if all work was finished, but not everything could be recorded.
const LOST: u8 = 3;

pub(super) fn run(sources: &Sources) -> anyhow::Result<ExitCode> {
    block_on(async {
        // Before anything else: a signal without a handler kills the process, and supervisors send them at any time.
        let mut signals = Signals::register()?;
        let start = async {
            let Found { files, settings } = read(sources).await?;
            let settings = settings?;
            memory::forbid_dumps(settings.profile)?;
            telemetry::start(&settings.log)?;
            tell_overrides(sources);
            let access_log = access_log(&settings.log)?;
            Ok(bind(settings, World::real(access_log)).await?.reloading(sources.clone(), files))
        };
        match unless_stopped(start, &mut signals).await? {
            Some(gateway) => finish(gateway, signals, Hangup::Reloads).await,
            None => Ok(ExitCode::SUCCESS),
        }
    })
}

/// A variable that an image or a pod sets may be forgotten by whoever edits the file.
fn tell_overrides(sources: &Sources) {
    let variables = sources.overriding_variables().join(", ");
    if !variables.is_empty() {
        tracing::info!(variables, "environment variables override the configuration file");
    }
}

/// Reads the configuration on a thread that may be lost, because a file can hang.
pub(super) async fn read(sources: &Sources) -> anyhow::Result<Found> {
    let sources = sources.clone();
    Ok(tokio::task::spawn_blocking(move || memory::wiping(|| sources.find())).await?)
}

/// Runs a start, or gives it up at a stop signal: nothing is served yet. `None` then.
pub(super) async fn unless_stopped<T>(
    start: impl Future<Output = anyhow::Result<T>>,
    signals: &mut Signals,
) -> anyhow::Result<Option<T>> {
    tokio::select! {
        started = start => started.map(Some),
        () = signals.stop_signal.received() => Ok(None),
    }
}

/// Opens the ledger, while probes are answered, builds the gateway and binds its sockets.
pub(super) async fn bind(settings: Settings, world: World) -> anyhow::Result<Gateway> {
    let order = settings.verify.chain.order.join(", ");
    for plain in settings.plain_listeners().filter(|_| settings.server.behind == Behind::TrustedProxy) {
        let (key, address) = (plain.key, plain.address);
        tracing::warn!(key, %address, "serves plain HTTP: let nothing but the trusted proxy reach this port");
    }
    let admin = crate::app::bind_admin(&settings, &world)?;
    let opening = async { anyhow::Ok(crate::app::ledger(&settings, &world).await?) };
    let ledger = answering_probes(&admin, opening).await?;
    let gateway = memory::wiping(|| Gateway::bind_public(settings, world, ledger, admin))?;
    let (public, admin) = (gateway.public_addr(), gateway.admin_addr());
    tracing::info!(%public, %admin, order, version = env!("CARGO_PKG_VERSION"), "idgate is up");
    Ok(gateway)
}

/// What SIGHUP means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangup {
    /// The configuration is read again.
    Reloads,
    /// The terminal was closed, and the process ends as at Ctrl-C.
    Stops,
}

/// Serves until SIGTERM or Ctrl-C, then drains. A second one ends the drain at once.
pub(super) async fn finish(gateway: Gateway, mut signals: Signals, hangup: Hangup) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let (reloads, access_log) = (gateway.reloads(), gateway.access_log());
    let served = gateway.serve(stop.clone());
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stopped(&mut signals, &reloads, hangup) => {
            stop.cancel();
            tokio::select! {
                ended = &mut served => ended,
                () = signals.stop_signal.received() => {
                    tracing::error!(
                        "stopped at once by a second signal: requests in progress were cut, and calls under way may be \
                         billed; with a ledger the next start records those as interrupted"
                    );
                    let _ = tokio::task::spawn_blocking(move || access_log.flush(telemetry::LAST_FLUSH)).await;
                    Ended::Cut
                }
            }
        }
    };
    Ok(match ended {
        Ended::Complete => ExitCode::SUCCESS,
        Ended::Lost => ExitCode::from(LOST),
        Ended::Cut => ExitCode::FAILURE,
    })
}

/// Waits for the first signal that stops the process.
async fn stopped(signals: &mut Signals, reloads: &Requests, hangup: Hangup) {
    let Signals { stop_signal, hangup: hung_up } = signals;
    let hung_up = async {
        match hangup {
            Hangup::Stops => drop(hung_up.recv().await),
            Hangup::Reloads => match reload_at_each(hung_up, reloads).await {},
        }
    };
    tokio::select! {
        () = stop_signal.received() => {}
        () = hung_up => {}
    }
}

/// The result of each reload is in the log and in `idgate_config_reloads_total`.
async fn reload_at_each(hangup: &mut Signal, reloads: &Requests) -> Infallible {
    while hangup.recv().await.is_some() {
        reloads.ask(Arc::from("signal"), None).await;
    }
    std::future::pending().await
}

pub(super) fn access_log(log: &Log) -> anyhow::Result<AccessLog> {
    let access_log = match &log.file {
        None => AccessLog::stdout()?,
        Some(path) => AccessLog::file(path).map_err(|error| {
            anyhow::anyhow!(
                "log.file = {:?} cannot be opened for writing: {error}; correct the path or its permissions",
                path.display()
            )
        })?,
    };
    Ok(access_log.with_strangers_per_second(log.strangers_per_second))
}

/// Runs `work` on a new runtime. Does not wait for tasks that `work` leaves running, such as a slow DNS look-up.
pub(super) fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let wiper = Arc::new(StackWiper::default());
    let on_park = {
        let wiper = Arc::clone(&wiper);
        move || wiper.on_park()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_park(on_park).build()?;
    runtime.spawn(wiper.run());
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    // Nobody else can tell that lines of this log are missing.
    let logged = telemetry::end();
    done.map(|code| if code == ExitCode::SUCCESS && !logged { ExitCode::from(LOST) } else { code })
}
