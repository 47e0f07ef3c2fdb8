//! Reads what operators did: operations, and people forgotten at their request. Both kinds are rare, and each has an
//! index, so a walk never passes over answers and calls.

use sqlx::Row;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::database::entry;
use super::entry::{Entry, Forgotten, Operation};
use super::error::ReadError;
use super::handle::Ledger;
use super::queries::{LONGEST_WALK, PART, Reader};
use super::reader::AnyReader;

/// The newest operations below a number. SQLite would rather walk over all entries.
const TEXT: &str = "SELECT seq, body FROM entries WHERE seq IN (SELECT seq FROM (\
    SELECT seq FROM entries INDEXED BY operations_by_provider WHERE kind = 'operation' AND seq < $1 UNION ALL \
    SELECT seq FROM entries INDEXED BY forgotten_by_subject WHERE kind = 'forgotten' AND seq < $1) \
    ORDER BY seq DESC LIMIT $2) ORDER BY seq DESC";

/// A filter for changes; `None` matches every one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedChanges {
    pub operator: Option<String>,
    /// As in [`Operation::action`]; `forget` too.
    pub action: Option<String>,
    /// Inclusive, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Exclusive, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// Changes, newest first, and where to go on if there may be more.
pub type Changes = (Vec<Operation>, Option<Cursor>);

impl WantedChanges {
    pub(super) fn has(&self, change: &Operation) -> bool {
        let Self { operator, action, from_ms, until_ms } = self;
        operator.as_ref().is_none_or(|operator| *operator == change.operator)
            && action.as_ref().is_none_or(|action| *action == change.action)
            && from_ms.is_none_or(|from| change.at_ms >= from)
            && until_ms.is_none_or(|until| change.at_ms < until)
    }
}

impl Ledger {
    /// At most `most` changes after `cursor`, newest first, and where to go on: the walk has a bound.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn changes(
        &self,
        wanted: &WantedChanges,
        cursor: Option<Cursor>,
        most: usize,
    ) -> Result<Changes, ReadError> {
        let Some(open) = &self.0 else { return Ok((Vec::new(), None)) };
        match (&open.flushed().await?, cursor) {
            (AnyReader::Sqlite(reader), Some(Cursor::Number(below))) => reader.changes(wanted, below, most).await,
            // A cursor of another ledger: the pages begin anew.
            (AnyReader::Sqlite(reader), _) => reader.changes(wanted, i64::MAX, most).await,
            (AnyReader::Postgres(reader), Some(Cursor::Id(below))) => reader.changes(wanted, Some(below), most).await,
            (AnyReader::Postgres(reader), _) => reader.changes(wanted, None, most).await,
        }
    }
}

impl Reader {
    async fn changes(&self, wanted: &WantedChanges, mut below: i64, most: usize) -> Result<Changes, ReadError> {
        let until = Instant::now() + LONGEST_WALK;
        let mut found = Vec::new();
        loop {
            let rows = sqlx::query(TEXT).bind(below).bind(PART as i64).fetch_all(self.pool()).await?;
            for row in &rows {
                let change = entry(row)?.into_change().filter(|change| wanted.has(change));
                if found.len() >= most && change.is_some() {
                    return Ok((found, Some(Cursor::Number(below))));
                }
                below = row.try_get("seq")?;
                found.extend(change);
            }
            if rows.len() < PART {
                return Ok((found, None));
            }
            if Instant::now() >= until {
                return Ok((found, Some(Cursor::Number(below))));
            }
        }
    }
}

impl Entry {
    /// What an operator did; `None` for entries that clients caused, and for removals.
    pub(super) fn into_change(self) -> Option<Operation> {
        match self {
            Self::Operation(operation) => Some(operation),
            Self::Forgotten(Forgotten { id, at_ms, client, outcome, subject, operator, reason }) => Some(Operation {
                id,
                at_ms,
                client,
                outcome,
                action: "forget".to_owned(),
                operator,
                reason,
                subject: Some(subject),
                ..Operation::default()
            }),
            Self::Call(_) | Self::Answer(_) | Self::Claim(_) | Self::Removed(_) => None,
        }
    }
}
