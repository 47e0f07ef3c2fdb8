//! Serving and draining. On a stop, `/readyz` returns 503, then new connections are refused, then running work
//! finishes.
//!
//! The order avoids losses: load balancers react first; then requests in flight are answered; then paid calls without a
//! waiting caller finish, so that their verdicts are kept; finally ledger and log are flushed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::telemetry::LAST_FLUSH;
use super::{Gateway, memory, record_follower};
use crate::server::admin::starting;
use crate::server::api::Verify;
use crate::server::listener::{Answer, Listener, Routed};
use crate::storage::shared::Shared;

/// Requests that still wait this long before the end of the drain get an error instead of a closed connection.
const LAST_CALL_BEFORE: Duration = Duration::from_millis(500);

/// How long the ledger may take to be closed after everything else has ended.
const LEDGER_CLOSE: Duration = Duration::from_secs(5);

/// How serving has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All running work finished in time, and everything is recorded.
    Complete,
    /// All running work finished in time, but entries of the ledger or the last lines of the access log are lost.
    Lost,
    /// Running calls were cut, or the ledger could not be closed in time.
    Cut,
}

impl Gateway {
    /// Serves until `stop`, then drains.
    pub async fn serve(self, stop: CancellationToken) -> Ended {
        let Self {
            verify,
            public,
            admin,
            public_routes,
            admin_routes,
            tasks,
            access_log,
            draining,
            server,
            reloader,
            clock_watch,
            shared,
            traces,
            log_level,
            ..
        } = self;
        let (stop_public, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        // No reloads once draining has started.
        let reloading = reloader.run(draining.clone());
        let ticking = clock_watch.run(draining.clone());
        let levelling = log_level.run(draining.clone());
        let runtime = Arc::clone(&verify.pipeline.current.load().runtime);
        // Nothing waits for it: until it has ended, each question is looked up.
        #[expect(clippy::disallowed_methods, reason = "it only reads, so shutdown does not wait for it")]
        let warming = AbortOnDropHandle::new(tokio::spawn(async move { runtime.warm().await }));
        let with_replicas = spawn_replicas(&shared, &verify);
        #[expect(
            clippy::disallowed_methods,
            reason = "it only reads what others have written, so shutdown does not wait for it"
        )]
        let following = AbortOnDropHandle::new(tokio::spawn(record_follower::follow(Arc::clone(&verify))));
        let watching =
            serve_on_own_thread(admin.serve(Closing::when(&draining, routed(admin_routes)), stop_admin.clone()));
        let serving = public.serve(Closing::when(&draining, public_routes), stop_public.clone());
        let life = async {
            tokio::pin!(serving);
            let notice = async {
                stop.cancelled().await;
                draining.cancel();
                warming.abort();
                following.abort();
                tracing::info!(notice = ?server.drain_notice, limit = ?server.drain_timeout, "draining");
                sleep(server.drain_notice).await;
            };
            tokio::select! {
                () = &mut serving => {}
                () = notice => {}
            }
            // One deadline for waiting requests and for calls that continue after their caller has left.
            let end = Instant::now() + server.drain_timeout;
            stop_public.cancel();
            tokio::select! {
                () = &mut serving => {}
                () = sleep(server.drain_timeout.saturating_sub(LAST_CALL_BEFORE)) => {
                    verify.pipeline.last_call.cancel();
                    serving.await;
                }
            }
            // Calls still in flight have been paid for, or may have been.
            tasks.close();
            let finished = timeout_at(end, tasks.wait()).await.is_ok();
            let cut = tasks.len();
            // Every call that was made has told the others.
            shared.leave().await;
            drop(with_replicas);
            let recorded = async {
                verify.idempotency.ended().await;
                verify.pipeline.ledger.close().await;
            };
            let is_closed = timeout_at(end.max(Instant::now() + LEDGER_CLOSE), recorded).await.is_ok();
            if !is_closed {
                tracing::error!(
                    "the ledger's disk did not answer; the next start recovers what is in spool and journal"
                );
            }
            stop_admin.cancel();
            (finished && is_closed, cut)
        };
        let ((), (), (), (finished, cut)) = tokio::select! {
            ended = async { tokio::join!(reloading, ticking, levelling, life) } => ended,
            never = memory::give_back_regularly() => match never {},
        };
        // What follows may hang, and has nothing to lose but log lines and answers to probes.
        let _ = timeout(LAST_FLUSH, watching).await;
        let traced = tokio::task::spawn_blocking(move || traces.end(LAST_FLUSH));
        let logged = tokio::task::spawn_blocking(move || access_log.end(LAST_FLUSH)).await.unwrap_or_default();
        let _ = traced.await;
        let lost = verify.pipeline.ledger.lost();
        if let Some(entries) = &lost {
            tracing::error!(entries, "these entries could be written nowhere; the ledger lacks them");
        }
        if !logged {
            tracing::error!("the last lines of the access log are lost; what reads it, or its disk, did not take them");
        }
        let ended = match (finished, lost.is_none() && logged) {
            (true, true) => Ended::Complete,
            (true, false) => Ended::Lost,
            (false, _) => Ended::Cut,
        };
        match ended {
            Ended::Complete => tracing::info!("stopped; nothing was cut"),
            Ended::Lost => tracing::error!("stopped; no call was cut, but not everything is recorded"),
            Ended::Cut => {
                tracing::error!(
                    cut,
                    "stopped at server.drain_timeout; running calls were cut and may have been billed"
                );
            }
        }
        ended
    }
}

/// How many messages of other replicas may wait to be acted on.
const EVENTS: usize = 4096;

/// How often the other replicas are asked for the numbers that clients have asked about.
const COUNTS: Duration = Duration::from_secs(1);

/// Keeps up what is shared, and does what the other replicas say; no task where nothing is shared.
fn spawn_replicas(shared: &Shared, verify: &Arc<Verify>) -> Option<AbortOnDropHandle<()>> {
    if !shared.is_on() {
        return None;
    }
    let (shared, verify) = (shared.clone(), Arc::clone(verify));
    let run = async move {
        let (sender, mut events) = mpsc::channel(EVENTS);
        let hears = async {
            while let Some(event) = events.recv().await {
                let runtime = Arc::clone(&verify.pipeline.current.load().runtime);
                runtime.hear(event).await;
            }
        };
        let counts = async {
            let mut ticks = tokio::time::interval(COUNTS);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let runtime = Arc::clone(&verify.pipeline.current.load().runtime);
                runtime.hear_numbers().await;
            }
        };
        // What it tells survives reloads.
        let runtime = Arc::clone(&verify.pipeline.current.load().runtime);
        tokio::join!(shared.run(sender), hears, counts, runtime.tell(&shared));
    };
    #[expect(clippy::disallowed_methods, reason = "it ends after the paid work, and loses nothing that is recorded")]
    let running = AbortOnDropHandle::new(tokio::spawn(run));
    Some(running)
}

/// Answers probes on the admin listener during `start`: `/livez` that the process is alive, everything else that it is
/// starting. What `start` returns may then serve the same socket; requests meanwhile wait in its queue.
///
/// # Errors
/// Those of `start`, or if the system has no descriptor left.
pub async fn answering_probes<T, E: From<io::Error>>(
    admin: &Listener,
    start: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let stop = CancellationToken::new();
    // Connections must not stay: what answers on them later is something else.
    let always = CancellationToken::new();
    always.cancel();
    let closes = Closing::when(&always, routed(starting()));
    let probes = serve_on_own_thread(admin.try_clone()?.serve(closes, stop.clone()));
    let started = start.await;
    stop.cancel();
    let _ = timeout(LAST_FLUSH, probes).await;
    started
}

/// Serves the admin listener on a thread and a runtime of its own: probes and metrics are answered even when something
/// blocks every worker. Dropping the returned future ends it at once.
fn serve_on_own_thread(serving: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> {
    let (ended, has_ended) = oneshot::channel::<()>();
    let (wanted, unwanted) = oneshot::channel::<()>();
    let serve = move || {
        // Dropped with the thread, however it ends.
        let _ended = ended;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        match runtime.enable_all().on_thread_park(memory::wipe_stack).build() {
            Ok(runtime) => runtime.block_on(async {
                tokio::select! {
                    () = serving => {}
                    _ = unwanted => {}
                }
            }),
            Err(error) => tracing::error!(%error, "the admin listener cannot be served"),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("admin".into()).spawn(serve) {
        tracing::error!(%error, "the admin listener cannot be served");
    }
    async move {
        let _ = has_ended.await;
        drop(wanted);
    }
}

/// The signals that idgate handles. Those that arrive before somebody waits for them are kept.
#[derive(Debug)]
pub struct Signals {
    pub stop_signal: StopSignal,
    pub hangup: Signal,
}

/// SIGTERM, or SIGINT of Ctrl-C.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Replaces the system's handlers, which would kill the process.
    ///
    /// # Errors
    /// When the handlers cannot be registered.
    pub fn register() -> io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let stop_signal = StopSignal { terminate: terminate?, interrupt: interrupt? };
        Ok(Self { stop_signal, hangup: hangup? })
    }
}

impl StopSignal {
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Adapts a router for the listener.
fn routed(routes: Router) -> impl Answer {
    Routed(routes.into_service::<Incoming>())
}

/// Answers that say `Connection: close` during a drain, so that clients reconnect elsewhere before we close the
/// connection.
#[derive(Debug, Clone)]
struct Closing<A> {
    answers: A,
    draining: CancellationToken,
}

impl<A> Closing<A> {
    fn when(draining: &CancellationToken, answers: A) -> Self {
        Self { answers, draining: draining.clone() }
    }
}

impl<A: Answer> Answer for Closing<A> {
    fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> impl Future<Output = Response<Body>> + Send {
        let Self { answers, draining } = self;
        answers.answer(request, peer).map(move |mut response| {
            if draining.is_cancelled() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })
    }
}
