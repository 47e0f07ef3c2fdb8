//! Follows the record that all replicas write: whom the others forget, what they spend, and what a start without the
//! record could not read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::gateway::isolations;
use crate::server::api::Verify;
use crate::server::idempotency::Forgetting;
use crate::storage::ledger::ReadError;

/// A person is forgotten everywhere within two seconds, also while Redis is away.
const FORGETTING_EVERY: Duration = Duration::from_secs(1);
/// How often the sums of all replicas are read, and how often while they were never read.
const SUMS_EVERY: Duration = Duration::from_secs(30);
const FIRST_SUMS_EVERY: Duration = Duration::from_secs(1);

/// Never ends; ends at once if the record is this replica's alone.
pub(super) async fn follow(verify: Arc<Verify>) {
    if verify.pipeline.ledger.is_shared() {
        tokio::join!(follow_forgetting(&verify), follow_sums(&verify));
    }
}

async fn follow_forgetting(verify: &Verify) {
    let mut forgetting = Forgetting::default();
    loop {
        for person in forgetting.look(&verify.pipeline.ledger).await {
            let runtime = Arc::clone(&verify.pipeline.current.load().runtime);
            runtime.forget_recorded(person).await;
            verify.idempotency.forget(person);
        }
        sleep(FORGETTING_EVERY).await;
    }
}

async fn follow_sums(verify: &Verify) {
    let (pipeline, mut last_told) = (&verify.pipeline, None);
    loop {
        let runtime = Arc::clone(&pipeline.current.load().runtime);
        let was_known = runtime.billing().is_known();
        let read = async {
            runtime.billing().refill(&pipeline.ledger).await?;
            if !was_known {
                for (provider, isolated) in
                    isolations(&pipeline.ledger, runtime.provider_names(), pipeline.clock.now()).await?
                {
                    tracing::warn!(provider = &*provider, by = &*isolated.by, "still isolated, as before this start");
                    runtime.isolate(&provider, isolated);
                }
            }
            Ok::<_, ReadError>(())
        };
        match read.await {
            // What is away is told by the ledger.
            Ok(()) | Err(ReadError::Away | ReadError::Behind) => {}
            Err(error) if last_told.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(600)) => {
                tracing::error!(%error, "ledger: the sums of all replicas cannot be read");
                last_told = Some(Instant::now());
            }
            Err(_) => {}
        }
        sleep(if runtime.billing().is_known() { SUMS_EVERY } else { FIRST_SUMS_EVERY }).await;
    }
}
