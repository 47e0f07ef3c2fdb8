//! Reads what calls have cost on each day, from the sums.

use std::collections::BTreeMap;

use sqlx::Row;

use super::error::ReadError;
use super::handle::Ledger;
use super::queries::Reader;
use super::reader::AnyReader;
use super::spent::{OnDay, unsummed};
use super::sums::{day_of, start_of};

const SUMMED: &str = "SELECT day, provider, CAST(sum(calls) AS BIGINT) AS calls, \
                      CAST(sum(micro_yuan) AS BIGINT) AS micro_yuan FROM spent_by_day WHERE day >= $1 \
                      GROUP BY day, provider";

/// The calls after entry $2, which the sums lack, by day in China.
const LATER: &str = "SELECT (at_ms + 28800000) / 86400000 AS day, provider, count(*) AS calls, \
                     CAST(sum(price_micro_yuan) AS BIGINT) AS micro_yuan FROM entries WHERE kind = 'call' \
                     AND at_ms >= $1 AND (outcome = 'verdict' OR billed <> 'no') AND seq > $2 GROUP BY 1, 2";

impl Ledger {
    /// From the day in China that starts at `from_ms` (milliseconds since 1970) on, by day and provider.
    ///
    /// # Errors
    /// If it cannot be read, or the database lacks the latest entries.
    pub async fn spent_by_day(&self, from_ms: i64) -> Result<Vec<OnDay>, ReadError> {
        let Some(open) = &self.0 else { return Ok(Vec::new()) };
        match open.flushed().await? {
            AnyReader::Sqlite(reader) => Ok(of_file(reader, from_ms).await?),
            AnyReader::Postgres(reader) => reader.spent_by_day(from_ms).await,
        }
    }
}

async fn of_file(reader: &Reader, from_ms: i64) -> Result<Vec<OnDay>, sqlx::Error> {
    let mut connection = reader.pool().begin().await?;
    let mut rows = sqlx::query(SUMMED).bind(day_of(from_ms)).fetch_all(&mut *connection).await?;
    if let Some(after) = unsummed(&mut connection).await? {
        rows.extend(sqlx::query(LATER).bind(from_ms).bind(after).fetch_all(&mut *connection).await?);
    }
    let mut all = BTreeMap::<(i64, String), [u64; 2]>::new();
    for row in &rows {
        let [calls, micro_yuan] = all.entry((row.try_get("day")?, row.try_get("provider")?)).or_default();
        *calls += row.try_get::<i64, _>("calls")?.unsigned_abs();
        *micro_yuan += row.try_get::<i64, _>("micro_yuan")?.unsigned_abs();
    }
    let on_day = |((day, provider), [calls, micro_yuan]): ((i64, String), [u64; 2])| OnDay {
        start_ms: start_of(day),
        provider,
        calls,
        micro_yuan,
    };
    Ok(all.into_iter().map(on_day).collect())
}
