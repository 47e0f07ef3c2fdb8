//! Finds the seal of one entry.

use sqlx::Row as _;
use uuid::Uuid;

use super::error::ReadError;
use super::handle::Ledger;
use super::queries::Reader;
use super::reader::AnyReader;

impl Ledger {
    /// What `idgate ledger verify --expect` takes to check that the entry with this id, and all before it, are as they
    /// are now; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or the database lacks the latest entries.
    pub async fn seal(&self, id: Uuid) -> Result<Option<String>, ReadError> {
        let Some(open) = &self.0 else { return Ok(None) };
        match open.flushed().await? {
            AnyReader::Sqlite(reader) => Ok(of_file(reader, id).await?),
            AnyReader::Postgres(reader) => reader.seal(id).await,
        }
    }
}

async fn of_file(reader: &Reader, id: Uuid) -> Result<Option<String>, sqlx::Error> {
    let query = sqlx::query("SELECT seq, hash FROM entries WHERE id = $1").bind(id.to_string());
    let row = query.fetch_optional(reader.pool()).await?;
    let line = |row: sqlx::sqlite::SqliteRow| {
        let (number, seal) = (row.try_get::<i64, _>("seq")?, row.try_get::<Vec<u8>, _>("hash")?);
        Ok(format!("{number}={}", hex::encode(seal)))
    };
    row.map(line).transpose()
}
