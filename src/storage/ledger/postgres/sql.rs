//! Statements of a schema whose name is configured. Nothing is set for a session, so that a pooler may give each
//! transaction another connection.

use sqlx::postgres::{PgArguments, PgPool, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Puts the schema into statements.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    /// With quotes and the dot.
    prefix: String,
    prepared: bool,
}

impl Sql {
    pub(super) fn new(schema: &str, prepared: bool) -> Self {
        Self { prefix: format!("\"{schema}\"."), prepared }
    }

    /// The text with the schema in place of each `~`.
    pub(super) fn text(&self, text: &str) -> SqlStr {
        // The name of the schema was checked, and is all that is put in.
        AssertSqlSafe(text.replace('~', &self.prefix)).into_sql_str()
    }

    pub(super) fn query<'q>(&self, text: &str) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(self.text(text)).persistent(self.prepared)
    }

    /// Runs a statement and returns its rows. Where nothing is prepared, it has a transaction of its own: a statement and
    /// its values are sent one after the other, and in between a pooler would take the connection away.
    pub(super) async fn rows(
        &self,
        pool: &PgPool,
        query: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        if self.prepared {
            return query.fetch_all(pool).await;
        }
        let mut transaction = pool.begin().await?;
        let rows = query.fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Runs a statement like [`Self::rows`], and returns how many rows it has changed.
    pub(super) async fn run(&self, pool: &PgPool, query: Query<'_, Postgres, PgArguments>) -> Result<u64, sqlx::Error> {
        if self.prepared {
            return Ok(query.execute(pool).await?.rows_affected());
        }
        let mut transaction = pool.begin().await?;
        let changed = query.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(changed)
    }
}
