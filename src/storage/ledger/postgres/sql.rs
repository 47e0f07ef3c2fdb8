//! Statements of a schema whose name is configured. Nothing is set for a session, so that a pooler may give each
//! transaction another connection.

use sqlx::postgres::{PgArguments, Postgres};
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
}
