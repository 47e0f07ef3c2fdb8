//! Reads what a period has cost by provider, client and purpose, over the entries of all replicas.

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{FromRow, Row as _};

use super::super::breakdown::{Breakdown, CostLine, PART, Sum, ids_around};
use super::super::error::ReadError;
use super::super::sums::day_of;
use super::read::Reader;

/// The index by time is one by provider.
const PROVIDERS: &str = "SELECT DISTINCT provider FROM ~daily WHERE day >= $1 AND day <= $2 ORDER BY provider";

/// The last call of a part of [`PART`]. With an upper bound, or with that number as a value, the planner may think that few
/// are left, and sort all of them for each part.
const LAST_CALL: &str = "SELECT at_ms FROM ~entries WHERE kind = 'call' AND provider = $1 AND at_ms > $2 \
                         ORDER BY at_ms LIMIT 1 OFFSET 4999";

const CALLS: &str = "SELECT provider, client, body::json ->> 'purpose' AS purpose, billed, count(*) AS calls, \
                     sum(price)::bigint AS micro_yuan FROM ~entries WHERE kind = 'call' AND provider = $1 \
                     AND at_ms > $2 AND at_ms <= $3 AND (outcome = 'verdict' OR billed <> 'no') GROUP BY 1, 2, 3, 4";

/// The last entry of a part, in the same way.
const LAST_ENTRY: &str =
    "SELECT id::text AS id FROM ~entries WHERE id > $1::uuid ORDER BY entries.id LIMIT 1 OFFSET 4999";

const _: () = assert!(PART == 5_000, "the statements have it as a text");

const ANSWERS: &str = "SELECT provider, client, body::json ->> 'purpose' AS purpose, outcome, count(*) AS answers, \
                       0::bigint AS micro_yuan FROM ~entries WHERE id > $1::uuid AND id <= $2::uuid \
                       AND kind = 'answer' AND provider IS NOT NULL AND at_ms >= $3 AND at_ms < $4 \
                       AND body::json ->> 'source' IN ('cache', 'shared') GROUP BY 1, 2, 3, 4";

impl Reader {
    pub(in super::super) async fn breakdown(&self, from_ms: i64, until_ms: i64) -> Result<Vec<CostLine>, ReadError> {
        let sql = self.link().sql();
        let mut breakdown = Breakdown::default();
        let end = until_ms.saturating_sub(1);
        let providers = sql.query(PROVIDERS).bind(day_of(from_ms)).bind(day_of(end));
        for row in &self.read(providers).await? {
            let provider: &str = row.try_get("provider")?;
            let mut after = from_ms.saturating_sub(1);
            while after < end {
                let last = sql.query(LAST_CALL).bind(provider).bind(after);
                let last = self.read(last).await?.first().map(|row| row.try_get("at_ms")).transpose()?;
                let last = last.map_or(end, |last: i64| last.min(end));
                let calls = sql.query(CALLS).bind(provider).bind(after).bind(last);
                breakdown.add_calls(sums(&self.read(calls).await?)?);
                after = last;
            }
        }
        let [mut after, end] = ids_around(from_ms, until_ms).map(|id| id.to_string());
        while after < end {
            let last = sql.query(LAST_ENTRY).bind(&after);
            let last = self.read(last).await?.first().map(|row| row.try_get("id")).transpose()?;
            let last = last.filter(|last: &String| *last < end).unwrap_or_else(|| end.clone());
            let answers = sql.query(ANSWERS).bind(&after).bind(&last).bind(from_ms).bind(until_ms);
            breakdown.add_answers(sums(&self.read(answers).await?)?);
            after = last;
        }
        Ok(breakdown.into_lines())
    }

    async fn read(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, ReadError> {
        let pools = self.link().pools()?;
        self.link().read(&pools, self.link().sql().rows(&pools.lookups, query)).await
    }
}

fn sums(rows: &[PgRow]) -> Result<Vec<Sum>, sqlx::Error> {
    rows.iter().map(Sum::from_row).collect()
}
