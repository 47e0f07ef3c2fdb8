//! Sums of what calls have cost, from which budgets and packages are restored after a restart.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::queries::Reader;
use super::sums::{self, day_of, start_of};

const SUMMED: &str = "SELECT client, provider, CAST(sum(calls) AS BIGINT) AS calls, \
                      CAST(sum(micro_yuan) AS BIGINT) AS micro_yuan, \
                      CAST(sum(CASE WHEN day >= $2 THEN calls ELSE 0 END) AS BIGINT) AS calls_today, \
                      CAST(sum(CASE WHEN day >= $2 THEN micro_yuan ELSE 0 END) AS BIGINT) AS micro_yuan_today \
                      FROM spent_by_day WHERE day >= $1 GROUP BY client, provider";

const COUNTED_BY_DAY: &str = "SELECT day, provider, used_up, CAST(sum(billed) AS BIGINT) AS billed FROM spent_by_day \
                              WHERE day >= $1 AND day < $2 GROUP BY day, provider, used_up \
                              ORDER BY day, provider, used_up";

/// The calls after entry $3, which the sums lack.
const SPENT: &str = "SELECT client, provider, count(*) AS calls, CAST(sum(price_micro_yuan) AS BIGINT) AS micro_yuan, \
                     CAST(sum(CASE WHEN at_ms >= $2 THEN 1 ELSE 0 END) AS BIGINT) AS calls_today, \
                     CAST(sum(CASE WHEN at_ms >= $2 THEN price_micro_yuan ELSE 0 END) AS BIGINT) AS micro_yuan_today \
                     FROM entries WHERE kind = 'call' AND at_ms >= $1 AND (outcome = 'verdict' OR billed <> 'no') \
                     AND seq > $3 GROUP BY client, provider";

const COUNTED: &str = "SELECT at_ms, provider, billed FROM entries WHERE kind = 'call' AND at_ms >= $1 AND at_ms < $2 \
                       AND (billed = 'yes' OR reason = $3) AND seq > $4 ORDER BY at_ms";

/// What one provider's calls have cost on one day in China, of all clients and replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDay {
    /// The start of the day, in milliseconds since 1970.
    pub start_ms: i64,
    pub provider: String,
    /// Calls that brought a verdict or may be billed.
    pub calls: u64,
    /// Their cost, or their maximum cost if it is not known whether they are billed, in millionths of a yuan.
    pub micro_yuan: u64,
}

/// What one client has spent at one provider since the start of the month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// Calls that used up part of a package, or one that showed that the package is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted<'a> {
    /// A time of the day, in China, on which they ended, in milliseconds since 1970.
    pub at_ms: i64,
    pub provider: &'a str,
    pub calls: u64,
    /// `false` if the call was refused because the quota was used up.
    pub is_billed: bool,
}

/// The times must be starts of days in China.
pub(super) async fn spent(reader: &Reader, month_ms: i64, day_ms: i64) -> Result<Vec<Spent>, sqlx::Error> {
    let mut connection = reader.pool().begin().await?;
    let rows = sqlx::query(SUMMED).bind(day_of(month_ms)).bind(day_of(day_ms)).fetch_all(&mut *connection).await?;
    let mut all = BTreeMap::new();
    rows.iter().try_for_each(|row| add(&mut all, row))?;
    if let Some(after) = unsummed(&mut connection).await? {
        let rows = sqlx::query(SPENT).bind(month_ms).bind(day_ms).bind(after).fetch_all(&mut *connection).await?;
        rows.iter().try_for_each(|row| add(&mut all, row))?;
    }
    Ok(all.into_values().collect())
}

fn add(all: &mut BTreeMap<(String, String), Spent>, row: &SqliteRow) -> Result<(), sqlx::Error> {
    let sum = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let (client, provider): (String, String) = (row.try_get("client")?, row.try_get("provider")?);
    let none = Spent { client: client.clone(), provider: provider.clone(), ..Spent::default() };
    let spent = all.entry((client, provider)).or_insert(none);
    spent.calls_today += sum("calls_today")?;
    spent.micro_yuan_today += sum("micro_yuan_today")?;
    spent.calls += sum("calls")?;
    spent.micro_yuan += sum("micro_yuan")?;
    Ok(())
}

/// The last entry that the sums include, if there are later ones: in a file of an earlier idgate.
pub(super) async fn unsummed(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let after = sums::summed(connection).await?;
    let later = sqlx::query("SELECT seq FROM entries WHERE seq > $1 LIMIT 1").bind(after);
    Ok(later.fetch_optional(connection).await?.map(|_| after))
}

/// The times must be starts of days in China, or the end of time.
pub(super) async fn counted(
    reader: &Reader,
    (from_ms, until_ms): (i64, i64),
    reason: &str,
    mut each: impl FnMut(Counted<'_>),
) -> Result<(), sqlx::Error> {
    let mut connection = reader.pool().begin().await?;
    let rows = sqlx::query(COUNTED_BY_DAY).bind(day_of(from_ms)).bind(day_of(until_ms));
    for row in &rows.fetch_all(&mut *connection).await? {
        let (at_ms, provider) = (start_of(row.try_get("day")?), row.try_get("provider")?);
        if row.try_get::<i64, _>("used_up")? == 1 {
            each(Counted { at_ms, provider, calls: 1, is_billed: false });
        }
        let calls = row.try_get::<i64, _>("billed")?.unsigned_abs();
        if calls > 0 {
            each(Counted { at_ms, provider, calls, is_billed: true });
        }
    }
    let Some(after) = unsummed(&mut connection).await? else { return Ok(()) };
    let mut rows = sqlx::query(COUNTED).bind(from_ms).bind(until_ms).bind(reason).bind(after).fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let is_billed = row.try_get::<&str, _>("billed")? == "yes";
        each(Counted { at_ms: row.try_get("at_ms")?, provider: row.try_get("provider")?, calls: 1, is_billed });
    }
    Ok(())
}

/// Everything that a start reads from the sums, on one connection.
#[cfg(test)]
pub(super) async fn read_at_start(connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let spent = sqlx::query(SUMMED).bind(0_i64).bind(2_i64).fetch_all(&mut *connection).await?;
    let counted = sqlx::query(COUNTED_BY_DAY).bind(0_i64).bind(i64::MAX).fetch_all(&mut *connection).await?;
    assert_eq!(unsummed(connection).await?, None);
    Ok(spent.len() + counted.len())
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
