//! Follows whom the other replicas were asked to forget, by the record that they share.

use crate::domain::subject::Digest;
use crate::storage::ledger::Ledger;

/// How far this replica has followed.
#[derive(Debug, Default)]
pub struct Forgetting {
    last: Option<i64>,
}

impl Forgetting {
    /// Whom other replicas have forgotten since the last look; from the first one on. What is missed while the record
    /// is away comes when it answers again.
    pub async fn look(&mut self, ledger: &Ledger) -> Vec<Digest> {
        match ledger.forgotten(self.last).await {
            Ok(Some((number, people))) => {
                self.last = Some(number);
                people
            }
            // Its log line is the ledger's.
            Ok(None) | Err(_) => Vec::new(),
        }
    }
}
