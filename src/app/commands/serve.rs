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
    runtime()?.block_on(async {
        let gateway = bind(settings, World::real(access_log))?;
        finish(gateway).await
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

/// Serves until a signal, then drains.
pub(super) async fn finish(gateway: Gateway) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let signal = lifecycle::stop_signal()?;
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

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
