//! What calls have cost, by day in China, replica, provider and client.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::super::record::Row;
use super::super::sums::{Line, Sums, day_of, days_of};
use super::sql::Sql;

const ADD: &str = "INSERT INTO ~daily AS d (day, replica, provider, client, used_up, calls, micro_yuan, billed) \
     SELECT day, $1, provider, client, used_up, calls, micro_yuan, billed \
     FROM unnest($2::bigint[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bigint[]) \
     AS t (day, provider, client, used_up, calls, micro_yuan, billed) \
     ON CONFLICT (day, replica, provider, client, used_up) DO UPDATE SET calls = d.calls + excluded.calls, \
     micro_yuan = d.micro_yuan + excluded.micro_yuan, billed = d.billed + excluded.billed";

/// Adds the calls among these entries.
pub(super) async fn add(
    connection: &mut PgConnection,
    sql: &Sql,
    replica: &str,
    rows: &[Row<'_>],
) -> Result<(), sqlx::Error> {
    let days = days_of(rows);
    if days.is_empty() {
        return Ok(());
    }
    let mut sums = Sums::default();
    let known = sql.query("SELECT DISTINCT day, provider FROM ~daily WHERE day = ANY($1) AND used_up").bind(days);
    for row in known.fetch_all(&mut *connection).await? {
        sums.is_used_up(row.try_get("day")?, row.try_get("provider")?);
    }
    sums.add_rows(rows);
    let lines: Vec<Line> = sums.lines().collect();
    let query = sql.query(ADD).bind(replica).bind(lines.iter().map(|line| line.day).collect::<Vec<_>>());
    let query = query.bind(lines.iter().map(|line| line.provider.clone()).collect::<Vec<_>>());
    let query = query.bind(lines.iter().map(|line| line.client.clone()).collect::<Vec<_>>());
    let query = query.bind(lines.iter().map(|line| line.used_up).collect::<Vec<_>>());
    let query = query.bind(lines.iter().map(|line| line.calls).collect::<Vec<_>>());
    let query = query.bind(lines.iter().map(|line| line.micro_yuan).collect::<Vec<_>>());
    query.bind(lines.iter().map(|line| line.billed).collect::<Vec<_>>()).execute(connection).await.map(drop)
}

/// Drops the sums of the days before this time (milliseconds since 1970).
pub(super) async fn remove_before(connection: &mut PgConnection, sql: &Sql, at_ms: i64) -> Result<(), sqlx::Error> {
    sql.query("DELETE FROM ~daily WHERE day < $1").bind(day_of(at_ms)).execute(connection).await.map(drop)
}
