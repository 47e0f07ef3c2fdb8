//! Where look-ups read from: the SQLite file of one process, or the PostgreSQL of many replicas.

use uuid::Uuid;

use super::claims::{self, Claimed, Spooled};
use super::cursor::Cursor;
use super::database::entry;
use super::entry::{Answer, Call, Entry, Operation, Subject};
use super::error::ReadError;
use super::postgres::{self, keys};
use super::queries::{Answers, MOST_ROWS, Reader, Wanted};
use super::recent::{Past, Recent, Since};
use super::spent::{self, Counted, Spent};
use crate::domain::subject::Digest;

#[derive(Debug, Clone)]
pub(super) enum AnyReader {
    Sqlite(Reader),
    Postgres(postgres::Reader),
}

impl AnyReader {
    pub(super) async fn answer(&self, id: Uuid) -> Result<Option<Answer>, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(reader.answer(id).await?),
            Self::Postgres(reader) => reader.answer(id).await,
        }
    }

    pub(super) async fn calls(&self, flight: Uuid) -> Result<Vec<Call>, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(reader.calls(flight).await?),
            Self::Postgres(reader) => reader.calls(flight).await,
        }
    }

    /// At most `most` answers after `cursor`, newest first, and where to go on.
    pub(super) async fn page(
        &self,
        wanted: &Wanted,
        cursor: Option<Cursor>,
        most: usize,
    ) -> Result<(Vec<Answer>, Option<Cursor>), ReadError> {
        match self {
            Self::Sqlite(reader) => {
                let below = match cursor {
                    Some(Cursor::Number(below)) => below,
                    // Of another ledger: the pages begin anew.
                    Some(Cursor::Id(_)) | None => i64::MAX,
                };
                let Answers { found, below } = reader.answers(wanted, below, most, MOST_ROWS).await?;
                Ok((found.into_iter().map(|found| found.answer).collect(), below.map(Cursor::Number)))
            }
            Self::Postgres(reader) => {
                let below = match cursor {
                    Some(Cursor::Id(below)) => Some(below),
                    Some(Cursor::Number(_)) | None => None,
                };
                let (found, below) = reader.answers(wanted, below, most, MOST_ROWS).await?;
                Ok((found, below.map(Cursor::Id)))
            }
        }
    }

    pub(super) async fn spent(&self, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(spent::spent(reader, month_ms, day_ms).await?),
            Self::Postgres(reader) => reader.spent(month_ms, day_ms, true).await,
        }
    }

    /// What other replicas have spent.
    pub(super) async fn spent_elsewhere(&self, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, ReadError> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(reader) => reader.spent(month_ms, day_ms, false).await,
        }
    }

    pub(super) async fn counted(
        &self,
        period: (i64, i64),
        reason: &str,
        each: impl FnMut(Counted<'_>),
    ) -> Result<(), ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(spent::counted(reader, period, reason, each).await?),
            Self::Postgres(reader) => reader.counted(period, each).await,
        }
    }

    /// The replicas whose latest entries the record may lack, with the time up to which it has them all.
    pub(super) async fn behind(&self) -> Result<Vec<(String, i64)>, ReadError> {
        match self {
            // Nobody reads before everything has moved.
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(reader) => reader.behind().await,
        }
    }

    pub(super) async fn last_isolation(&self, provider: &str) -> Result<Option<Operation>, ReadError> {
        let reader = match self {
            Self::Sqlite(reader) => reader,
            Self::Postgres(reader) => return reader.last_isolation(provider).await,
        };
        let text = "SELECT body FROM entries WHERE kind = 'operation' AND provider = $1 \
                    AND outcome IN ('isolated', 'restored') ORDER BY seq DESC LIMIT 1";
        let row = sqlx::query(text).bind(provider).fetch_optional(reader.keys()).await?;
        match row.as_ref().map(entry).transpose()? {
            Some(Entry::Operation(operation)) => Ok(Some(operation)),
            _ => Ok(None),
        }
    }

    pub(super) async fn since(&self, from_ms: i64) -> Result<Option<Since>, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(reader.since(from_ms).await?),
            Self::Postgres(reader) => reader.since(from_ms).await,
        }
    }

    pub(super) async fn recent(&self, since: Since, key_id: &str) -> Result<Recent, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(reader.recent(since, key_id).await?),
            Self::Postgres(reader) => reader.recent(since, key_id).await,
        }
    }

    pub(super) async fn recent_about(&self, since: Since, subject: &Subject) -> Result<Past, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(reader.recent_about(since, subject).await?),
            Self::Postgres(reader) => reader.recent_about(since, subject).await,
        }
    }

    pub(super) async fn claimed(
        &self,
        spooled: &Spooled,
        key: &Digest,
        not_before_ms: i64,
    ) -> Result<Option<Claimed>, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(claims::claimed(reader, spooled, key, not_before_ms).await?),
            Self::Postgres(reader) => keys::claimed(reader.link(), key, not_before_ms).await,
        }
    }

    pub(super) async fn claims_about(&self, subject: &Subject, not_before_ms: i64) -> Result<usize, ReadError> {
        match self {
            Self::Sqlite(reader) => Ok(claims::claims_about(reader, subject, not_before_ms).await?),
            Self::Postgres(reader) => keys::claims_about(reader.link(), subject, not_before_ms).await,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(reader) => reader.close().await,
            // The link closes them.
            Self::Postgres(_) => {}
        }
    }
}
