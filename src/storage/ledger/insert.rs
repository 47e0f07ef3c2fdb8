//! Inserts entries, many rows at a time.
//!
//! Each statement costs a round trip to the database's thread and a copy of every page that it touches, and parsing one
//! costs more than running it. So there are statements of few sizes, each is parsed once, and their values are bound
//! without names.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::chain_hash::Seal;
use super::record::Row;

/// The numbers of rows for which a statement is prepared.
const SIZES: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// The columns of every entry.
const COLUMNS: &str =
    "seq, body, hash, own_kind, own_id, own_at_ms, own_client, own_outcome, own_provider, own_subject";
/// What only some entries have.
const MORE: &str = "own_flight, own_reference, own_billed, own_price, own_reason, own_key, own_claim";
const COUNT: usize = 10;
const COUNT_MORE: usize = 7;

/// How many words are kept; past that they are forgotten.
const MOST_WORDS: usize = 256;

/// The statements, and what recurs in the values.
#[derive(Debug)]
pub(super) struct Inserts {
    /// By size: without the columns that only some entries have, and with them.
    statements: Vec<(usize, [Arc<str>; 2])>,
    /// Clients, providers and outcomes, so that each is allocated once.
    words: HashSet<Arc<str>>,
}

impl Inserts {
    pub(super) fn new() -> Self {
        let both =
            |size| (size, [statement(size, COLUMNS, COUNT), statement(size, &all_columns(), COUNT + COUNT_MORE)]);
        Self { statements: SIZES.map(both).into(), words: HashSet::new() }
    }

    /// Inserts the rows whose id does not exist yet, with these numbers and seals, and returns how many there were.
    pub(super) async fn all(
        &mut self,
        connection: &mut SqliteConnection,
        mut rows: &[Row<'_>],
        mut seals: &[(i64, Seal)],
    ) -> Result<u64, sqlx::Error> {
        let mut written = 0;
        for (size, [few, many]) in &self.statements {
            while let (Some((part, rest)), Some((sealed, unsealed))) =
                (rows.split_at_checked(*size), seals.split_at_checked(*size))
            {
                let is_more = part.iter().any(has_more);
                let values = values(part, sealed, is_more, &mut self.words).map_err(sqlx::Error::Encode)?;
                let text = Arc::clone(if is_more { many } else { few });
                // Only names of columns and question marks.
                let query = sqlx::query_with(AssertSqlSafe(text), values);
                written += query.execute(&mut *connection).await?.rows_affected();
                (rows, seals) = (rest, unsealed);
            }
        }
        Ok(written)
    }
}

fn all_columns() -> String {
    format!("{COLUMNS}, {MORE}")
}

fn statement(rows: usize, columns: &str, count: usize) -> Arc<str> {
    let row = format!("({})", vec!["?"; count].join(","));
    format!("INSERT INTO entries ({columns}) VALUES {} ON CONFLICT (id) DO NOTHING", vec![&*row; rows].join(",")).into()
}

fn has_more(row: &Row<'_>) -> bool {
    let Row { flight, reference, billed, price_micro_yuan, reason, key, claim, .. } = row;
    price_micro_yuan.is_some() || [flight, reference, billed, reason, key, claim].into_iter().any(Option::is_some)
}

fn values(
    rows: &[Row<'_>],
    seals: &[(i64, Seal)],
    is_more: bool,
    words: &mut HashSet<Arc<str>>,
) -> Result<SqliteArguments, sqlx::error::BoxDynError> {
    let mut values = SqliteArguments::default();
    values.reserve(rows.len() * (COUNT + if is_more { COUNT_MORE } else { 0 }), 0);
    for (row, (seq, seal)) in rows.iter().zip(seals) {
        values.add(*seq)?;
        values.add(row.text)?;
        values.add(&seal.0[..])?;
        values.add(word(row.kind, words))?;
        values.add(row.id)?;
        values.add(row.at_ms)?;
        values.add(word(row.client, words))?;
        values.add(word(row.outcome, words))?;
        values.add(row.provider.map(|provider| word(provider, words)))?;
        values.add(row.subject)?;
        if is_more {
            values.add(row.flight)?;
            values.add(row.reference)?;
            values.add(row.billed.map(|billed| word(billed, words)))?;
            values.add(row.price_micro_yuan)?;
            values.add(row.reason)?;
            values.add(row.key)?;
            values.add(row.claim)?;
        }
    }
    Ok(values)
}

fn word(word: &str, words: &mut HashSet<Arc<str>>) -> Arc<str> {
    if let Some(known) = words.get(word) {
        return Arc::clone(known);
    }
    if words.len() >= MOST_WORDS {
        words.clear();
    }
    let word = Arc::<str>::from(word);
    words.insert(Arc::clone(&word));
    word
}
