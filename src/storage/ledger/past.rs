//! Reads what is recorded of people and of what calls have cost, for the memory of a new process.

use super::entry::Subject;
use super::error::ReadError;
use super::handle::Ledger;
use super::recent::{Past, Recent, Since};
use super::spent::{Counted, Spent};

impl Ledger {
    /// The place from which entries are at `from_ms` (milliseconds since 1970) or later; `None` if there is no
    /// entry, or no ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn since(&self, from_ms: i64) -> Result<Option<Since>, ReadError> {
        match &self.0 {
            Some(open) => open.reader.since(from_ms).await,
            None => Ok(None),
        }
    }

    /// What is recorded since then about all people known under this digest key: the newest entries, and a bounded
    /// number of them.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn recent(&self, since: Since, key_id: &str) -> Result<Recent, ReadError> {
        match &self.0 {
            Some(open) => open.reader.recent(since, key_id).await,
            None => Ok(Recent::default()),
        }
    }

    /// What is recorded since then about one person.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn recent_about(&self, since: Since, subject: &Subject) -> Result<Past, ReadError> {
        match &self.0 {
            Some(open) => open.reader.recent_about(since, subject).await,
            None => Ok(Past::default()),
        }
    }

    /// What is recorded about one person since `from_ms` (milliseconds since 1970), by this process too.
    ///
    /// # Errors
    /// If it cannot be read, or the database lacks the latest entries.
    pub async fn recorded_since(&self, from_ms: i64, subject: &Subject) -> Result<Past, ReadError> {
        let Some(open) = &self.0 else { return Ok(Past::default()) };
        let reader = open.flushed().await?;
        match reader.since(from_ms).await? {
            Some(since) => reader.recent_about(since, subject).await,
            None => Ok(Past::default()),
        }
    }

    /// Spending of this replica since `month_ms`, and the part of it since `day_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn spent(&self, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await?.spent(month_ms, day_ms).await,
            None => Ok(Vec::new()),
        }
    }

    /// The same of all other replicas that write the same record.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn spent_elsewhere(&self, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, ReadError> {
        match &self.0 {
            Some(open) => open.reader.spent_elsewhere(month_ms, day_ms).await,
            None => Ok(Vec::new()),
        }
    }

    /// Passes to `each` the calls of this period (milliseconds since 1970) that were billed, or refused for `reason`,
    /// in the order in which they ended.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn counted(
        &self,
        (from_ms, until_ms): (i64, i64),
        reason: &str,
        each: impl FnMut(Counted<'_>),
    ) -> Result<(), ReadError> {
        match &self.0 {
            Some(open) => open.flushed().await?.counted((from_ms, until_ms), reason, each).await,
            None => Ok(()),
        }
    }
}
