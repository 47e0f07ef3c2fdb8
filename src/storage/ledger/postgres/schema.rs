//! Makes the tables and the partitions.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};

use super::super::id_times::first_id;
use super::books::Book;
use super::sql::Sql;

/// What each version adds to the one before. Only add: replicas of the release before still write.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema-2.sql")];

/// The version of this program's statements.
const OURS: i32 = STEPS.len() as i32;

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(
        "it has no tables yet; run `idgate ledger migrate` as the owner of the schema, or set ledger.postgres.migrate"
    )]
    Missing,
    #[error("it is that of an earlier idgate; run `idgate ledger migrate` as the owner of the schema")]
    Old,
    #[error("a newer idgate has changed it so that this one may not write any more; run that one")]
    TooNew,
    #[error("it is another program's; name another schema in ledger.postgres.schema")]
    Foreign,
}

/// Brings the schema up to date. Any number of replicas may do that at once.
pub(super) async fn migrate(connection: &mut PgConnection, sql: &Sql, schema: &str) -> Result<(), SchemaError> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction, schema).await?;
    let exists = sqlx::query("SELECT to_regnamespace($1) IS NOT NULL")
        .persistent(false)
        .bind(schema)
        .fetch_one(&mut *transaction)
        .await?;
    if !exists.try_get::<bool, _>(0)? {
        transaction.execute(sqlx::AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""))).await?;
    }
    let from = match version(&mut transaction, sql, schema).await {
        Ok((version, _)) => version,
        Err(SchemaError::Missing) => 0,
        Err(error) => return Err(error),
    };
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or_default()) {
        sqlx::raw_sql(sql.text(step)).execute(&mut *transaction).await?;
    }
    if from < OURS {
        sql.query("UPDATE ~format SET version = $1").bind(OURS).execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// Checks that this program may write to the schema.
pub(super) async fn check(connection: &mut PgConnection, sql: &Sql, schema: &str) -> Result<(), SchemaError> {
    // One transaction, so that a pooler gives each statement the same connection.
    let mut transaction = connection.begin().await?;
    let found = version(&mut transaction, sql, schema).await;
    let _ = transaction.rollback().await;
    let (version, oldest_writer) = found?;
    if oldest_writer > OURS {
        Err(SchemaError::TooNew)
    } else if version < OURS {
        Err(SchemaError::Old)
    } else {
        Ok(())
    }
}

async fn version(connection: &mut PgConnection, sql: &Sql, schema: &str) -> Result<(i32, i32), SchemaError> {
    let text = "SELECT count(*) FILTER (WHERE relname = 'format') AS ours, count(*) AS tables FROM pg_class \
                WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p')";
    let found = sqlx::query(text).persistent(false).bind(schema).fetch_one(&mut *connection).await?;
    match (found.try_get::<i64, _>("ours")?, found.try_get::<i64, _>("tables")?) {
        (0, 0) => return Err(SchemaError::Missing),
        (0, _) => return Err(SchemaError::Foreign),
        _ => {}
    }
    let row = sql.query("SELECT version, oldest_writer FROM ~format").fetch_optional(connection).await;
    match row {
        Ok(Some(row)) => Ok((row.try_get("version")?, row.try_get("oldest_writer")?)),
        Ok(None) => Err(SchemaError::Foreign),
        // A table of this name with other columns.
        Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42703")) => {
            Err(SchemaError::Foreign)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the partition of this month if it is missing. Attaching one keeps nobody from reading or writing the others.
pub(super) async fn partition(
    connection: &mut PgConnection,
    sql: &Sql,
    schema: &str,
    book: Book,
) -> Result<(), sqlx::Error> {
    let name = format!("entries_{}", book.name());
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                  WHERE relnamespace = to_regnamespace($1) AND relname = $2)";
    let is_there = async |connection: &mut PgConnection| {
        let row = sqlx::query(exists).persistent(false).bind(schema).bind(&name).fetch_one(connection).await?;
        row.try_get::<bool, _>(0)
    };
    let mut transaction = connection.begin().await?;
    if is_there(&mut transaction).await? {
        return transaction.rollback().await;
    }
    lock(&mut transaction, schema).await?;
    if is_there(&mut transaction).await? {
        return transaction.rollback().await;
    }
    let (from, to) = (first_id(book.start_ms()), first_id(book.next().start_ms()));
    let text = format!(
        "CREATE TABLE ~{name} (LIKE ~entries INCLUDING ALL);\
         CREATE UNIQUE INDEX {name}_seq ON ~{name} (replica, seq);\
         ALTER TABLE ~entries ATTACH PARTITION ~{name} FOR VALUES FROM ('{from}') TO ('{to}')"
    );
    sqlx::raw_sql(sql.text(&text)).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Takes the partition of this month away for good.
pub(super) async fn remove_partition(connection: &mut PgConnection, sql: &Sql, book: Book) -> Result<(), sqlx::Error> {
    let name = format!("entries_{}", book.name());
    let pending = sql.query(
        "SELECT inhdetachpending FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
         WHERE inhparent = '~entries'::regclass AND relname = $1",
    );
    let mut transaction = connection.begin().await?;
    let pending = pending.bind(&name).fetch_optional(&mut *transaction).await?;
    transaction.commit().await?;
    // Somebody else was interrupted in the middle.
    let is_pending = pending.map_or(Ok(false), |row| row.try_get(0))?;
    let how = if is_pending { "FINALIZE" } else { "CONCURRENTLY" };
    // Not in a transaction, so that readers are not waited for by those who come after.
    let detach = sql.text(&format!("ALTER TABLE ~entries DETACH PARTITION ~{name} {how}"));
    sqlx::raw_sql(detach).execute(&mut *connection).await?;
    sqlx::raw_sql(sql.text(&format!("DROP TABLE ~{name}"))).execute(connection).await.map(drop)
}

/// The months that have a partition.
pub(super) async fn partitions(connection: &mut PgConnection, schema: &str) -> Result<Vec<Book>, sqlx::Error> {
    let text = "SELECT relname::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' AND relname LIKE 'entries\\_%' ORDER BY 1";
    let mut transaction = connection.begin().await?;
    let rows = sqlx::query(text).persistent(false).bind(schema).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let mut books = Vec::new();
    for row in &rows {
        let name: &str = row.try_get("name")?;
        books.extend(name.strip_prefix("entries_").and_then(|name| name.parse().ok()).and_then(Book::from_name));
    }
    Ok(books)
}

/// Held until the transaction ends: a pooler keeps no lock of a session.
async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('idgate ' || $1, 0))")
        .persistent(false)
        .bind(schema)
        .execute(connection)
        .await?;
    Ok(())
}
