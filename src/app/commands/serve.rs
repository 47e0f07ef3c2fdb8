//! `idgate serve`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::app::config::{Log, Settings, Sources};
use crate::app::{Gateway, World, lifecycle, telemetry};
use crate::server::access_log::AccessLog;

pub(super) fn run(sources: &Sources) -> anyhow::Result<ExitCode> {
    let settings = sources.load()?;
    telemetry::start(&settings.log)?;
    let access_log = access_log(&settings.log)?;
    block_on(async {
        // Listened for before anything answers: whoever sees us up may stop us.
        let signal = lifecycle::stop_signal()?;
        let gateway = bind(settings, World::real(access_log))?;
        finish(gateway, signal).await
    })
}

/// One line for every address that answers.
pub(super) fn bind(settings: Settings, world: World) -> anyhow::Result<Gateway> {
    let order = settings.verify.chain.order.join(", ");
    let gateway = Gateway::bind(settings, world)?;
    let (public, admin) = (gateway.public_addr(), gateway.admin_addr());
    tracing::info!(%public, %admin, order, version = env!("CARGO_PKG_VERSION"), "idgate is up");
    Ok(gateway)
}

/// Serves until the signal, then drains.
pub(super) async fn finish(gateway: Gateway, signal: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let served = gateway.serve(stop.clone());
    tokio::pin!(served);
    let finished = tokio::select! {
        finished = &mut served => finished,
        () = signal => {
            stop.cancel();
            served.await
        }
    };
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn access_log(log: &Log) -> anyhow::Result<AccessLog> {
    match &log.file {
        None => Ok(AccessLog::stdout()),
        Some(path) => AccessLog::file(path)
            .map_err(|error| anyhow::anyhow!("log.file = {:?} cannot be opened for writing: {error}", path.display())),
    }
}

/// Runs `work` on a runtime of its own, and does not wait for what that leaves behind, such as a name look-up that hangs.
pub(super) fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
