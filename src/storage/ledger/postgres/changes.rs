//! Reads what operators did, over the entries of all replicas.

use tokio::time::Instant;
use uuid::Uuid;

use super::super::changes::{Changes, WantedChanges};
use super::super::cursor::Cursor;
use super::super::error::ReadError;
use super::super::queries::{LONGEST_WALK, PART};
use super::read::{Reader, id};
use super::rows::entry;

/// Two parts, since each has an index of its own.
const TEXT: &str = "SELECT id::text AS id, body FROM (\
    SELECT id, body FROM ~entries WHERE kind = 'operation' AND id < $1::uuid UNION ALL \
    SELECT id, body FROM ~entries WHERE kind = 'forgotten' AND subject IS NOT NULL AND kind <> 'call' \
    AND id < $1::uuid) AS changes ORDER BY changes.id DESC LIMIT $2";

impl Reader {
    pub(in super::super) async fn changes(
        &self,
        wanted: &WantedChanges,
        below: Option<Uuid>,
        most: usize,
    ) -> Result<Changes, ReadError> {
        let pools = self.link().pools()?;
        let until = Instant::now() + LONGEST_WALK;
        let mut below = below.unwrap_or(Uuid::max());
        let mut found = Vec::new();
        loop {
            let query = self.link().sql().query(TEXT).bind(below.to_string()).bind(PART as i64);
            let rows = self.link().read(&pools, query.fetch_all(&pools.lookups)).await?;
            for row in &rows {
                let change = entry(row)?.into_change().filter(|change| wanted.has(change));
                if found.len() >= most && change.is_some() {
                    return Ok((found, Some(Cursor::Id(below))));
                }
                below = id(row)?;
                found.extend(change);
            }
            if rows.len() < PART {
                return Ok((found, None));
            }
            if Instant::now() >= until {
                return Ok((found, Some(Cursor::Id(below))));
            }
        }
    }
}
