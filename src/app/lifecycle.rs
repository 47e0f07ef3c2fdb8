//! Serving and draining. On a stop, `/readyz` returns 503, then new connections are refused, then running work
//! finishes.
//!
//! The order avoids losses: load balancers react first; then requests in flight are answered; then paid calls without a
//! waiting caller finish, so that their verdicts are kept; finally ledger and log are flushed.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::Gateway;

/// Requests that still wait this long before the end of the drain get an error instead of a closed connection.
const LAST_CALL_BEFORE: Duration = Duration::from_millis(500);

impl Gateway {
    /// Serves until `stop`, then drains. Returns whether all running work finished in time.
    pub async fn serve(self, stop: CancellationToken) -> bool {
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
            ..
        } = self;
        let (stop_public, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        // No reloads once draining has started.
        let reloading = reloader.run(draining.clone());
        let flushing = access_log.flush_until(stop_admin.clone());
        let watching = admin.serve(on_incoming(admin_routes, &draining), stop_admin.clone());
        let serving = public.serve(on_incoming(public_routes, &draining), stop_public.clone());
        let life = async {
            tokio::pin!(serving);
            let notice = async {
                stop.cancelled().await;
                draining.cancel();
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
            // Without a deadline: these entries record paid calls, and a disk write either succeeds or fails.
            verify.idempotency.ended().await;
            verify.pipeline.ledger.close().await;
            stop_admin.cancel();
            finished
        };
        let ((), (), (), finished) = tokio::join!(reloading, flushing, watching, life);
        if finished {
            tracing::info!("stopped; nothing was cut");
        } else {
            tracing::error!("stopped at server.drain_timeout; running calls were cut and may have been billed");
        }
        finished
    }
}

/// Completes at SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signal handlers cannot be registered.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Yields at each SIGHUP, which requests a reload.
///
/// # Errors
/// When the signal handler cannot be registered.
pub fn reload_signal() -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

/// Adapts a router for the listener. During a drain every response has `Connection: close`, so that clients reconnect
/// elsewhere before we close the connection.
fn on_incoming(
    routes: axum::Router,
    draining: &CancellationToken,
) -> impl Service<Request<Incoming>, Response = http::Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let draining = draining.clone();
    let last = move |mut response: http::Response<Body>| {
        if draining.is_cancelled() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    };
    routes.into_service::<Incoming>().map_request(|request: Request<Incoming>| request).map_response(last)
}
