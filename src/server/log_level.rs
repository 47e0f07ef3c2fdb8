//! The level of the log on standard error, changed by an operator until a time. `app::telemetry` carries it out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

/// A level that an operator may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema, strum::IntoStaticStr, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Sets the level of the log; `None` is the configured one. Returns whether it could.
pub type Apply = dyn Fn(Option<Level>) -> bool + Send + Sync;

/// The level in force. Clones share it.
#[derive(Clone)]
pub struct LogLevel(Arc<Inner>);

struct Inner {
    apply: Box<Apply>,
    /// When the configured level is back; `None` while it is in force.
    until: Mutex<Option<Instant>>,
    changed: Notify,
}

impl LogLevel {
    pub fn new(apply: Box<Apply>) -> Self {
        Self(Arc::new(Inner { apply, until: Mutex::default(), changed: Notify::new() }))
    }

    /// Sets the level for this time, instead of any set before. Returns whether it could.
    pub(in crate::server) fn set(&self, level: Level, time: Duration) -> bool {
        let Inner { apply, until, changed } = &*self.0;
        let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
        if !apply(Some(level)) {
            return false;
        }
        *until = Some(Instant::now() + time);
        changed.notify_one();
        true
    }

    /// Puts the configured level back when the time of another one has come.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let until = *self.0.until.lock().unwrap_or_else(PoisonError::into_inner);
            let comes = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.changed.notified() => {}
                () = comes => self.expire(),
            }
        }
    }

    fn expire(&self) {
        let Inner { apply, until, .. } = &*self.0;
        let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have been set in the meantime.
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
            // Before it, for the configured level may hide it.
            tracing::warn!("the log has its configured level again");
            apply(None);
        }
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").field("until", &self.0.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_level_ends_by_itself_and_the_last_one_counts() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let began = Instant::now();
        let level = LogLevel::new(Box::new(move |level| {
            log.lock().unwrap().push((began.elapsed().as_secs(), level));
            true
        }));
        let stop = CancellationToken::new();
        let sets = async {
            assert!(level.set(Level::Debug, Duration::from_secs(60)));
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(level.set(Level::Trace, Duration::from_secs(60)));
            tokio::time::sleep(Duration::from_secs(1000)).await;
            stop.cancel();
        };
        tokio::join!(level.clone().run(stop.clone()), sets);
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen, [(0, Some(Level::Debug)), (30, Some(Level::Trace)), (90, None)]);
    }
}
