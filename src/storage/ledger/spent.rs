//! Sums of what calls have cost, from which budgets and packages are restored after a restart.

use futures_util::TryStreamExt;
use sqlx::Row;

use super::queries::Reader;

const SPENT: &str = "SELECT client, provider, count(*) AS calls, sum(price_micro_yuan) AS micro_yuan, \
                     sum(at_ms >= $2) AS calls_today, \
                     sum(CASE WHEN at_ms >= $2 THEN price_micro_yuan ELSE 0 END) AS micro_yuan_today \
                     FROM entries WHERE kind = 'call' AND at_ms >= $1 AND (outcome = 'verdict' OR billed <> 'no') \
                     GROUP BY client, provider";

const COUNTED: &str = "SELECT at_ms, provider, billed FROM entries WHERE kind = 'call' AND at_ms >= $1 AND at_ms < $2 \
                       AND (billed = 'yes' OR reason = $3) ORDER BY at_ms";

/// What one client has spent at one provider since the start of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    pub client: String,
    pub provider: String,
    /// Today's calls that brought a verdict or may be billed.
    pub calls_today: u64,
    /// Their cost, or their maximum cost if it is not known whether they are billed, in millionths of a yuan.
    pub micro_yuan_today: u64,
    /// The same for the whole month, including today.
    pub calls: u64,
    /// The same for the whole month, including today.
    pub micro_yuan: u64,
}

/// A call that used up part of a package, or showed that the package is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: i64,
    pub provider: &'a str,
    /// `false` if the call was refused for the reason given to the query.
    pub is_billed: bool,
}

pub(super) async fn spent(reader: &Reader, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, sqlx::Error> {
    let rows = sqlx::query(SPENT).bind(month_ms).bind(day_ms).fetch_all(reader.pool()).await?;
    let spent = rows.iter().map(|row| {
        let sum = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Spent {
            client: row.try_get("client")?,
            provider: row.try_get("provider")?,
            calls_today: sum("calls_today")?,
            micro_yuan_today: sum("micro_yuan_today")?,
            calls: sum("calls")?,
            micro_yuan: sum("micro_yuan")?,
        })
    });
    spent.collect()
}

pub(super) async fn counted(
    reader: &Reader,
    (from_ms, until_ms): (i64, i64),
    reason: &str,
    mut each: impl FnMut(Counted<'_>),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query(COUNTED).bind(from_ms).bind(until_ms).bind(reason).fetch(reader.pool());
    while let Some(row) = rows.try_next().await? {
        let is_billed = row.try_get::<&str, _>("billed")? == "yes";
        each(Counted { at_ms: row.try_get("at_ms")?, provider: row.try_get("provider")?, is_billed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnection;
    use sqlx::{AssertSqlSafe, Connection};

    use super::*;

    #[tokio::test]
    async fn what_was_spent_is_read_from_the_index_alone() {
        let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for schema in [include_str!("schema.sql"), include_str!("spent.sql")] {
            sqlx::raw_sql(schema).execute(&mut database).await.unwrap();
        }
        for text in [SPENT, COUNTED] {
            let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN {text}"))).bind(1_i64).bind(2_i64);
            let steps = steps.fetch_all(&mut database).await.unwrap();
            // SQLite calls an index covering only if no column is computed, so the opcodes are checked: no entry is
            // parsed as JSON.
            let opened: Vec<_> = steps.iter().map(|step| step.get::<String, _>("opcode")).collect();
            let parsed =
                steps.iter().any(|step| step.get::<Option<String>, _>("p4").is_some_and(|p4| p4.contains("->>")));
            assert!(!parsed && opened.iter().any(|step| step == "DeferredSeek"), "{opened:?}");
        }
    }
}
