//! Reads what a period has cost by provider, client and purpose, from the entries.

use sqlx::FromRow;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::breakdown::{Breakdown, CostLine, PART, Sum, ids_around};
use super::error::ReadError;
use super::handle::Ledger;
use super::reader::AnyReader;

/// The last call of a part.
const LAST_CALL: &str = "SELECT at_ms FROM entries WHERE kind = 'call' AND at_ms > $1 AND at_ms <= $2 \
                         ORDER BY at_ms LIMIT 1 OFFSET $3";

const CALLS: &str = "SELECT provider, client, body ->> 'purpose' AS purpose, billed, count(*) AS calls, \
                     CAST(sum(price_micro_yuan) AS BIGINT) AS micro_yuan FROM entries WHERE kind = 'call' \
                     AND at_ms > $1 AND at_ms <= $2 AND (outcome = 'verdict' OR billed <> 'no') GROUP BY 1, 2, 3, 4";

/// The last entry of a part. Answers have no index by time, but their ids have.
const LAST_ENTRY: &str = "SELECT id FROM entries WHERE id > $1 AND id <= $2 ORDER BY id LIMIT 1 OFFSET $3";

const ANSWERS: &str = "SELECT provider, client, body ->> 'purpose' AS purpose, outcome, count(*) AS answers, \
                       0 AS micro_yuan FROM entries WHERE id > $1 AND id <= $2 AND kind = 'answer' \
                       AND provider IS NOT NULL AND at_ms >= $3 AND at_ms < $4 \
                       AND body ->> 'source' IN ('cache', 'shared') GROUP BY 1, 2, 3, 4";

impl Ledger {
    /// What was spent from `from_ms` up to but not including `until_ms` (milliseconds since 1970), and the answers that
    /// needed no call of their own. Takes longer the more entries there are, and may be given up at any time.
    ///
    /// # Errors
    /// If it cannot be read, or the database lacks the latest entries.
    pub async fn breakdown(&self, from_ms: i64, until_ms: i64) -> Result<Vec<CostLine>, ReadError> {
        let Some(open) = &self.0 else { return Ok(Vec::new()) };
        match open.flushed().await? {
            AnyReader::Sqlite(reader) => Ok(of_file(reader.pool(), (from_ms, until_ms), PART).await?),
            AnyReader::Postgres(reader) => reader.breakdown(from_ms, until_ms).await,
        }
    }
}

/// Reads `part` entries at a time.
pub(super) async fn of_file(
    pool: &SqlitePool,
    (from_ms, until_ms): (i64, i64),
    part: i64,
) -> Result<Vec<CostLine>, sqlx::Error> {
    let mut breakdown = Breakdown::default();
    let (mut after, end) = (from_ms.saturating_sub(1), until_ms.saturating_sub(1));
    while after < end {
        let last = sqlx::query_scalar(LAST_CALL).bind(after).bind(end).bind(part - 1).fetch_optional(pool).await?;
        let last = last.unwrap_or(end);
        breakdown.add_calls(sums(&sqlx::query(CALLS).bind(after).bind(last).fetch_all(pool).await?)?);
        after = last;
    }
    let [mut after, end] = ids_around(from_ms, until_ms).map(|id| id.to_string());
    while after < end {
        let last = sqlx::query_scalar(LAST_ENTRY).bind(&after).bind(&end).bind(part - 1).fetch_optional(pool).await?;
        let last = last.unwrap_or_else(|| end.clone());
        let answers = sqlx::query(ANSWERS).bind(&after).bind(&last).bind(from_ms).bind(until_ms);
        breakdown.add_answers(sums(&answers.fetch_all(pool).await?)?);
        after = last;
    }
    Ok(breakdown.into_lines())
}

fn sums(rows: &[SqliteRow]) -> Result<Vec<Sum>, sqlx::Error> {
    rows.iter().map(Sum::from_row).collect()
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{AssertSqlSafe, Connection, Row};

    use super::super::database::migrations;
    use super::*;

    #[tokio::test]
    async fn each_part_is_found_by_an_index() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrations().run(&mut database).await.unwrap();
        for (text, index) in [
            (LAST_CALL, "INDEX calls_by_time (at_ms>? AND at_ms<?)"),
            (CALLS, "INDEX calls_by_time (at_ms>? AND at_ms<?)"),
            (LAST_ENTRY, "INDEX entries_by_id (id>? AND id<?)"),
            (ANSWERS, "INDEX entries_by_id (id>? AND id<?)"),
        ] {
            let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")));
            let plan = plan.bind(1_i64).bind(2_i64).bind(3_i64).bind(4_i64).fetch_all(&mut database).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
            let is_sorted = steps.iter().any(|step| step.contains("ORDER BY"));
            assert!(steps[0].contains(index) && !is_sorted, "{text}: {steps:?}");
        }
    }
}
