//! The timers of one TLS connection after its handshake.
//!
//! Invariants: a connection past its maximum age gets GOAWAY or `Connection: close` before it is closed, so that no
//! request meets a closing connection; an idle HTTP/2 connection gets GOAWAY, and is cut if it then does not read its
//! answers; these timers never cut a connection with requests in progress.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::config::{Config, LAST_WORDS};
use super::connection::{Http1, is_late};
use super::connections::Slot;
use super::life::Life;

/// Ages are shortened by up to this fraction, so that connections opened together are not closed together.
const JITTER: f64 = 0.1;

pub(super) struct Watch<'a> {
    pub(super) first_request_deadline: Instant,
    pub(super) http1: &'a Http1,
    pub(super) life: Arc<Life>,
    pub(super) slot: &'a Slot,
    pub(super) config: &'a Config,
    pub(super) stop: CancellationToken,
}

impl Watch<'_> {
    /// Resolves after the stop. If the handshake ended after the stop, this waits a little longer, because the first
    /// request may be on its way.
    async fn stopped(stop: &CancellationToken) {
        let was_stopped = stop.is_cancelled();
        stop.cancelled().await;
        if was_stopped {
            sleep(LAST_WORDS).await;
        }
    }

    fn age(&self) -> Duration {
        self.config.max_connection_age.mul_f64(1.0 - JITTER * fastrand::f64())
    }

    pub(super) async fn http1(self, connection: impl GracefulConnection<Error = hyper::Error>) {
        let mut connection = pin!(connection);
        let mut head_due =
            pin!(sleep_until(self.first_request_deadline.min(Instant::now() + self.config.keep_alive_timeout)));
        let mut age = pin!(sleep(self.age()));
        let mut stopped = pin!(Self::stopped(&self.stop));
        let (mut aged, mut stopping) = (false, false);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return self.note(ended),
                () = head_due.as_mut() => match self.http1.next_head_due(&self.life) {
                    Some(due) if due > Instant::now() => head_due.as_mut().reset(due),
                    _ => return self.slot.timed_out(),
                },
                // The next answer carries `Connection: close`. Without one, the connection ends when it is idle.
                () = age.as_mut(), if !aged => {
                    aged = true;
                    self.life.aged.store(true, Relaxed);
                }
                () = stopped.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    pub(super) async fn http2(self, connection: impl GracefulConnection<Error = hyper::Error>) {
        let mut connection = pin!(connection);
        let mut first_request_deadline = pin!(sleep_until(self.first_request_deadline));
        let mut age = pin!(sleep(self.age()));
        let mut stopped = pin!(Self::stopped(&self.stop));
        let quiet_for = self.config.keep_alive_timeout;
        let mut look = pin!(sleep(quiet_for));
        let (mut greeted, mut closing, mut heard_before) = (false, false, 0);
        loop {
            let idle = tokio::select! {
                biased;
                ended = connection.as_mut() => return self.note(ended),
                () = first_request_deadline.as_mut(), if !greeted => {
                    if self.life.heard() == 0 {
                        return self.slot.timed_out();
                    }
                    greeted = true;
                    continue;
                }
                () = self.life.leave.cancelled(), if !closing => false,
                () = age.as_mut(), if !closing => false,
                () = stopped.as_mut(), if !closing => false,
                () = look.as_mut() => true,
            };
            let heard = self.life.heard();
            let is_quiet = !self.life.is_busy() && heard == heard_before;
            heard_before = heard;
            look.as_mut().reset(Instant::now() + quiet_for);
            match (idle, closing) {
                (true, _) if !is_quiet => {}
                // GOAWAY was sent and every request was answered, but the client does not read the answers.
                (true, true) => return self.slot.timed_out(),
                _ => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    fn note(&self, ended: Result<(), hyper::Error>) {
        if ended.is_err_and(|error| is_late(&error)) {
            self.slot.timed_out();
        }
    }
}
