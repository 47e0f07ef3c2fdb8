//! Forgets keys of people whom another replica was asked to forget.

use std::time::Duration;

use super::keys::Idempotency;
use crate::storage::ledger::Ledger;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Follows what all replicas forget. Ends at once if nothing is shared.
pub async fn follow(ledger: Ledger, idempotency: Idempotency) {
    let mut last = None;
    loop {
        match ledger.forgotten(last).await {
            Ok(None) => return,
            Ok(Some((number, people))) => {
                last = Some(number);
                people.into_iter().for_each(|person| _ = idempotency.forget(person));
            }
            // Its log line is the ledger's. What was missed comes when it answers again.
            Err(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
