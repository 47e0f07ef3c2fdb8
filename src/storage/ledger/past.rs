//! Reads what is recorded about people, for the memory of a new process.

use super::entry::Subject;
use super::error::ReadError;
use super::handle::Ledger;
use super::recent::{Past, Recent, Since};

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
}
