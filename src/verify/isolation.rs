//! A provider that an operator has set aside, until it is restored or a time comes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

/// Who isolated a provider, why, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolated {
    pub by: Arc<str>,
    pub reason: Option<Arc<str>>,
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Isolated {
    /// For the other replicas.
    pub(super) fn to_text(&self) -> String {
        let until = self.until.map(Timestamp::as_millisecond);
        serde_json::json!({"by": *self.by, "reason": self.reason.as_deref(), "since": self.since.as_millisecond(),
            "until": until})
        .to_string()
    }

    /// What [`Self::to_text`] wrote; `None` if it is none.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_str(text).ok()?;
        let time = |key: &str| Timestamp::from_millisecond(said.get(key)?.as_i64()?).ok();
        Some(Self {
            by: Arc::from(said.get("by")?.as_str()?),
            reason: said.get("reason").and_then(|reason| reason.as_str()).map(Arc::from),
            since: time("since")?,
            until: time("until"),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// Read for every question, so that the lock is not.
    is_set: AtomicBool,
    inner: Mutex<Option<(Isolated, Option<Instant>)>>,
}

impl Isolation {
    /// `ends` is when it ends by itself, by a clock that nobody sets.
    pub(super) fn begin(&self, isolated: Isolated, ends: Option<Instant>) {
        *self.lock() = Some((isolated, ends));
        self.is_set.store(true, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        *self.lock() = None;
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// The isolation, if it has not ended.
    pub(super) fn at(&self, now: Instant) -> Option<Isolated> {
        if !self.is_set.load(Ordering::Relaxed) {
            return None;
        }
        let mut inner = self.lock();
        if inner.as_ref().is_some_and(|(_, ends)| ends.is_some_and(|ends| ends <= now)) {
            *inner = None;
            self.is_set.store(false, Ordering::Relaxed);
        }
        inner.as_ref().map(|(isolated, _)| isolated.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Isolated, Option<Instant>)>> {
        // A panic cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_isolation_ends_by_itself_when_its_time_has_come() {
        let isolation = Isolation::default();
        let isolated = Isolated {
            by: Arc::from("oncall"),
            reason: Some(Arc::from("maintenance")),
            since: Timestamp::UNIX_EPOCH,
            until: Some(Timestamp::UNIX_EPOCH + Duration::from_secs(60)),
        };
        isolation.begin(isolated.clone(), Some(Instant::now() + Duration::from_secs(60)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(isolation.at(Instant::now()), Some(isolated.clone()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(isolation.at(Instant::now()), None);
        isolation.begin(isolated, None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(isolation.at(Instant::now()).is_some());
        isolation.end();
        assert_eq!(isolation.at(Instant::now()), None);
    }
}
