//! A landing that goes on while its verdict is written into the ledger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout_at};

/// Nobody hears the verdict before the other replicas have it, or Redis was too slow. Clones share it; by default there is
/// nothing to wait for.
#[derive(Debug, Clone, Default)]
pub struct Landing(Option<Arc<UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    ended: SetOnce<()>,
    until: Instant,
}

impl Landing {
    pub(super) fn within(patience: Duration) -> Self {
        Self(Some(Arc::new(UnderWay { ended: SetOnce::new(), until: Instant::now() + patience })))
    }

    pub(super) fn end(&self) {
        if let Some(under_way) = &self.0 {
            // It ends once.
            let _ = under_way.ended.set(());
        }
    }

    pub fn is_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|under_way| !under_way.ended.initialized())
    }

    /// Waits until it has ended, within the patience of its question.
    pub async fn wait(&self) {
        if let Some(under_way) = &self.0 {
            let _ = timeout_at(under_way.until, under_way.ended.wait()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_waited_for_until_it_ends_or_the_patience_does() {
        assert!(Landing::default().wait().now_or_never().is_some());
        let (began, patience) = (Instant::now(), Duration::from_millis(50));
        let landing = Landing::within(patience);
        let other = landing.clone();
        assert!(landing.wait().now_or_never().is_none());
        other.end();
        assert!(landing.wait().now_or_never().is_some());
        Landing::within(patience).wait().await;
        assert_eq!(began.elapsed(), patience);
    }
}
