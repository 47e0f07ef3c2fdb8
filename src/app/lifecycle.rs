//! From serving to gone: ready turns 503, then no new connections, then work under way finishes, all within a limit.
//!
//! The order is what loses nothing: load balancers hear of it first; then requests in flight are answered; then paid calls
//! that nobody waits for any more bring their verdicts home; then ledger and log are written out.

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

/// Before the drain ends, those who still wait are told, instead of being cut.
const LAST_CALL_BEFORE: Duration = Duration::from_millis(500);

impl Gateway {
    /// Serves until `stop`, then drains. Returns whether everything under way was finished in time.
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
        // Not beyond the notice: who goes down does not begin anew.
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
            // One limit for all that follows: for those who wait, and for the calls that nobody waits for any more.
            let end = Instant::now() + server.drain_timeout;
            stop_public.cancel();
            tokio::select! {
                () = &mut serving => {}
                () = sleep(server.drain_timeout.saturating_sub(LAST_CALL_BEFORE)) => {
                    verify.pipeline.last_call.cancel();
                    serving.await;
                }
            }
            // What is still in flight was paid for, or may have been.
            tasks.close();
            let finished = timeout_at(end, tasks.wait()).await.is_ok();
            // Not within the limit: what is written now was paid for, and the disk answers or fails.
            verify.idempotency.ended().await;
            verify.pipeline.ledger.close().await;
            stop_admin.cancel();
            finished
        };
        let ((), (), (), finished) = tokio::join!(reloading, flushing, watching, life);
        if finished {
            tracing::info!("stopped; nothing was cut");
        } else {
            tracing::error!("stopped at the limit; calls under way were cut, and may have been billed");
        }
        finished
    }
}

/// Cancelled by SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signals cannot be listened for.
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

/// Yields at each SIGHUP, which asks for a reload.
///
/// # Errors
/// When the signal cannot be listened for.
pub fn reload_signal() -> io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

/// A router as the listener wants it. While the process goes down every answer says that its connection ends, so that
/// clients leave by themselves and no request meets a closing connection.
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
